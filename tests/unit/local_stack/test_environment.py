"""Which settings the app gets on the local stack, and who wins when two are named."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from azure.core.credentials import AccessToken

from local import environment
from local.certificates import Certificates
from local.identity import IdentityServer
from local.ports import HeldPorts
from local.serving import listen
from local.stack import PortTakenError, _hold_port
from local.state import AlreadyRunningError, StackInfo, function_key, holder, lock, running

CERTIFICATES = Certificates(Path("ca.pem"), Path("bundle.pem"), Path("cert.pem"), Path("key.pem"))
INFO = StackInfo(
    app="http://127.0.0.1:7071",
    blob="https://127.0.0.1:1/devstoreaccount1",
    queue="https://127.0.0.1:2/devstoreaccount1",
    table="https://127.0.0.1:3/devstoreaccount1",
    model="https://127.0.0.1:4",
    topic="https://127.0.0.1:5",
    identity="http://127.0.0.1:6/msi/token",
    ca="ca.pem",
    ca_bundle="bundle.pem",
    key="the-key",
    identity_header="the-header",
    c2pa_ca="model/c2pa-ca.pem",
    directory=".local",
)


def app_environment(**environ: str) -> dict[str, str]:
    return environment.app_environment(environ, CERTIFICATES, INFO)


def test_the_app_is_pointed_at_the_stack() -> None:
    env = app_environment()
    assert env["STORAGE__blobServiceUri"] == INFO.blob
    assert env["STORAGE__queueServiceUri"] == INFO.queue
    assert env["STORAGE__tableServiceUri"] == INFO.table
    assert env["EVENTS__topicEndpointUri"] == "https://127.0.0.1:5/api/events"
    assert env["AZURE_OPENAI_ENDPOINT"] == INFO.model
    assert env["PUBLIC_BASE_URL"] == INFO.app
    assert env["C2PA_TRUST_ANCHORS"] == INFO.c2pa_ca
    assert (env["IDENTITY_ENDPOINT"], env["IDENTITY_HEADER"]) == (INFO.identity, INFO.identity_header)
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == "bundle.pem"
    assert env["LOCAL_HOST_KEY"] == INFO.key


def test_settings_of_the_caller_pass_through_and_win_over_defaults() -> None:
    env = app_environment(EVENT_PROMPTS="1", PUBLIC_BASE_URL="https://tunnel.example", C2PA_TRUST_ANCHORS="list.pem")
    assert env["EVENT_PROMPTS"] == "1"
    assert env["PUBLIC_BASE_URL"] == "https://tunnel.example"
    assert env["C2PA_TRUST_ANCHORS"] == "list.pem"


def test_addresses_of_the_stack_win_over_those_of_the_caller() -> None:
    env = app_environment(
        STORAGE__blobServiceUri="https://real.blob.core.windows.net", IDENTITY_HEADER="old", SSL_CERT_FILE="company.pem"
    )
    assert env["STORAGE__blobServiceUri"] == INFO.blob
    assert env["IDENTITY_HEADER"] == INFO.identity_header
    assert env["SSL_CERT_FILE"] == "bundle.pem"


def test_the_app_and_the_local_model_agree_on_the_quota() -> None:
    for environ in ({}, {"LOCAL_RPM": "7"}, {"AZURE_OPENAI_REQUESTS_PER_MINUTE": "5"}):
        assert app_environment(**environ)["AZURE_OPENAI_REQUESTS_PER_MINUTE"] == environment.requests_per_minute(
            environ
        )
    assert environment.requests_per_minute({}) == "60"


def test_a_real_endpoint_takes_the_place_of_the_local_model_and_its_defaults() -> None:
    env = app_environment(AZURE_OPENAI_ENDPOINT="https://me.openai.azure.com", AZURE_OPENAI_DEPLOYMENT="pictures")
    assert env["AZURE_OPENAI_ENDPOINT"] == "https://me.openai.azure.com"
    assert env["AZURE_OPENAI_DEPLOYMENT"] == "pictures"
    assert "AZURE_OPENAI_REQUESTS_PER_MINUTE" not in env
    assert "C2PA_TRUST_ANCHORS" not in env


@pytest.mark.parametrize(
    ("environ", "audiences"),
    [
        ({}, []),
        ({"AZURE_OPENAI_ENDPOINT": "https://127.0.0.1:9"}, []),
        ({"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com"}, list(environment.MODEL_AUDIENCES)),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://gateway.example", "AZURE_OPENAI_SCOPE": "api://gateway/.default"},
            [*environment.MODEL_AUDIENCES, "api://gateway"],
        ),
    ],
)
def test_only_a_model_beyond_this_machine_needs_real_tokens(environ: dict[str, str], audiences: list[str]) -> None:
    assert environment.real_audiences(environ) == audiences


def test_the_app_signs_with_the_stacks_vault_unless_it_is_told_another() -> None:
    info = dataclasses.replace(INFO, vault="https://127.0.0.1:8")
    own = environment.app_environment({}, CERTIFICATES, info)["SIGNING_CERTIFICATE"]
    real = {"SIGNING_CERTIFICATE": "https://kv-1.vault.azure.net/certificates/signing"}

    assert own == "https://127.0.0.1:8/certificates/darkroom-signing"
    assert environment.app_environment(real, CERTIFICATES, info)["SIGNING_CERTIFICATE"] == real["SIGNING_CERTIFICATE"]
    assert environment.real_audiences(real) == ["https://vault.azure.net"]
    assert environment.real_audiences({"SIGNING_CERTIFICATE": own}) == []


def test_a_real_audience_gets_the_token_of_whoever_is_signed_in() -> None:
    asked: list[str] = []

    def get_token(*scopes: str, **_: object) -> AccessToken:
        asked.extend(scopes)
        if len(asked) > 1:
            raise RuntimeError("signed out")
        return AccessToken("a-real-token", 4_000_000_000)

    audience = environment.MODEL_AUDIENCES[0]
    server = IdentityServer(0, "h", {audience: SimpleNamespace(get_token=get_token, close=lambda: None)})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        query = {"api-version": "2019-08-01", "resource": audience}
        first, second, other = (
            httpx.get(server.url, params={**query, "resource": resource}, headers={"X-IDENTITY-HEADER": "h"})
            for resource in (audience, audience, "https://storage.azure.com")
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked[0] == f"{audience}/.default"
    assert (first.json()["access_token"], first.json()["expires_on"]) == ("a-real-token", "4000000000")
    assert (second.status_code, "az login" in second.json()["message"]) == (400, True)
    assert other.json()["access_token"].count(".") == 2


def test_a_taken_port_is_said_with_what_to_do() -> None:
    with listen(0) as listener, HeldPorts() as ports:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"Port {port} is in use.*PORT={port + 1} make run"):
            _hold_port(ports, port)


def test_a_stack_file_without_a_running_stack_is_not_believed(tmp_path: Path) -> None:
    info = StackInfo(**{**vars(INFO), "directory": str(tmp_path)})
    with lock(tmp_path):
        assert running(tmp_path) is None
        info.save()
        assert running(tmp_path) == info
        assert holder(tmp_path) is not None
        with pytest.raises(AlreadyRunningError), lock(tmp_path):
            pytest.fail("two stacks in one folder")
    assert running(tmp_path) is None
    assert holder(tmp_path) is None


def test_the_stack_file_is_for_its_owner_only(tmp_path: Path) -> None:
    StackInfo(**{**vars(INFO), "directory": str(tmp_path)}).save()
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_the_function_key_stays_the_same(tmp_path: Path) -> None:
    key = function_key(tmp_path)
    assert len(key) >= 40
    assert function_key(tmp_path) == key
    assert (tmp_path / "function-key").stat().st_mode & 0o077 == 0
