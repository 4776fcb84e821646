"""The local key vault: whom it answers, and that its key signs without leaving."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from local.certificates import Certificates
from local.environment import VAULT_CERTIFICATE
from local.identity import make_token
from local.key_vault import AUDIENCE, KeyVault, open_vault
from local.processes import Supervisor
from tests.support.vault import issued

CERTIFICATE = f"/certificates/{VAULT_CERTIFICATE}"
KEY = f"/keys/{VAULT_CERTIFICATE}"
DIGEST = hashlib.sha256(b"a claim").digest()


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> KeyVault:
    return open_vault(tmp_path_factory.mktemp("vault"))


async def ask(
    vault: KeyVault, path: str, token: str | None = None, version: str = "7.4", **body: str
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token or make_token(AUDIENCE)}"} if token != "" else {}
    transport = httpx.ASGITransport(vault.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://vault", headers=headers) as client:
        method = "POST" if path.endswith("/sign") else "GET"
        return await client.request(method, path, params={"api-version": version}, json=body or None)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_its_key_signs_what_its_certificate_verifies(vault: KeyVault) -> None:
    shown = (await ask(vault, CERTIFICATE)).json()
    certificate = x509.load_der_x509_certificate(base64.b64decode(shown["cer"]))
    path = httpx.URL(shown["kid"]).path
    answer = (await ask(vault, f"{path}/sign", alg="ES256", value=encoded(DIGEST))).json()
    signature = base64.urlsafe_b64decode(answer["value"] + "==")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key = certificate.public_key()

    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(utils.encode_dss_signature(r, s), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    assert (await ask(vault, path)).json()["key"]["crv"] == "P-256"


async def test_the_key_it_shows_is_the_public_one(vault: KeyVault) -> None:
    for path in (KEY, CERTIFICATE):
        assert not {"d", "p", "q", "k"} & (await ask(vault, path)).json().get("key", {}).keys()


@pytest.mark.parametrize(
    "token", ["", "nonsense", make_token("https://storage.azure.com"), make_token(AUDIENCE, lifetime=-1)]
)
async def test_who_has_no_token_for_it_is_told_where_to_get_one(vault: KeyVault, token: str) -> None:
    for path in (CERTIFICATE, KEY, f"{KEY}/sign"):
        refused = await ask(vault, path, token)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "Unauthorized"
        challenge = refused.headers["www-authenticate"]
        assert challenge.startswith('Bearer authorization="https://login.microsoftonline.com/')
        assert challenge.endswith(f'resource="{AUDIENCE}"')


@pytest.mark.parametrize(
    "path", ["/certificates/another", f"{CERTIFICATE}/{'0' * 32}", "/keys/another", f"{KEY}/{'0' * 32}"]
)
async def test_it_has_one_certificate_in_one_version(vault: KeyVault, path: str) -> None:
    assert (await ask(vault, path)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"alg": "PS256", "value": encoded(DIGEST)},
        {"alg": "ES256", "value": encoded(DIGEST[:31])},
        {"alg": "ES256", "value": "ü"},
        {"alg": "ES256"},
        {},
    ],
)
async def test_what_its_key_cannot_sign_is_refused(vault: KeyVault, body: dict[str, str]) -> None:
    refused = await ask(vault, f"{KEY}/sign", **body)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "BadParameter")


async def test_a_request_without_a_version_of_the_interface_is_refused(vault: KeyVault) -> None:
    assert (await ask(vault, CERTIFICATE, version="1.0")).status_code == 400


async def test_it_notes_who_asked_for_what_and_no_token(vault: KeyVault) -> None:
    vault.requests.clear()
    await ask(vault, CERTIFICATE)
    noted = (await ask(vault, "/_local/requests")).json()["requests"]

    assert [(one["path"], one["status"], one["audience"]) for one in noted] == [(CERTIFICATE, 200, AUDIENCE)]
    assert make_token(AUDIENCE)[:20] not in json.dumps(noted)


async def test_faults_are_used_up_one_request_each(vault: KeyVault) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(vault.app), base_url="https://vault") as client:
        await client.put("/_local/behaviour", json={"faults": [{"status": 503}, {"status": 429}]})
    statuses = [(await ask(vault, CERTIFICATE)).status_code for _ in range(3)]

    assert statuses == [503, 429, 200]


@pytest.mark.parametrize("wanted", [[], {"fault": []}, {"faults": 1}, {"faults": [{"code": 1}]}])
async def test_a_behaviour_it_does_not_know_is_refused(vault: KeyVault, wanted: Any) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(vault.app), base_url="https://vault") as client:
        assert (await client.put("/_local/behaviour", json=wanted)).status_code == 400


def test_it_keeps_its_certificate_between_starts(tmp_path: Path) -> None:
    assert open_vault(tmp_path)._cer == open_vault(tmp_path)._cer
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("*-key.pem"))


async def test_a_key_that_is_not_the_certificates_can_be_put_into_it_for_tests() -> None:
    vault = KeyVault(issued().certificate, ec.generate_private_key(ec.SECP384R1()))

    digest = hashlib.sha384(b"a claim").digest()
    assert (await ask(vault, f"{KEY}/sign", alg="ES384", value=encoded(digest))).status_code == 200


def test_the_command_serves_over_tls_and_says_where(tmp_path: Path, certificates: Certificates) -> None:
    command = [sys.executable, "-m", "local.key_vault", "--state-dir", str(tmp_path / "vault")]
    command += ["--cert", str(certificates.cert), "--key", str(certificates.key)]
    with Supervisor(tmp_path / "logs") as supervisor:
        child = supervisor.start("vault", command, ready={"url": r"^ready (\S+)"}, env=os.environ)
        supervisor.wait_ready(child, timeout=60)
        answer = httpx.get(f"{child.found['url']}{CERTIFICATE}", params={"api-version": "7.4"}, timeout=20)

    assert answer.status_code == 401
