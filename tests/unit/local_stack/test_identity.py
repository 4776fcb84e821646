"""The managed-identity endpoint, asked by azure-identity itself and by callers that break the protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from azure.identity import ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential

from local.identity import TENANT_ID, IdentityServer, make_token, read_claims

HEADER = "a-secret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityServer]:
    server = IdentityServer(0, HEADER)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", server.url)
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server: IdentityServer, header: str | None = HEADER, **query: str) -> httpx.Response:
    headers = {} if header is None else {"X-IDENTITY-HEADER": header}
    return httpx.get(server.url, params={"api-version": "2019-08-01", **query}, headers=headers)


def test_azure_identity_gets_a_token_for_the_scope_it_asks(server: IdentityServer) -> None:
    with ManagedIdentityCredential() as credential:
        token = credential.get_token("https://eventgrid.azure.net/.default")
    claims = read_claims(token.token)
    assert claims["aud"] == "https://eventgrid.azure.net"
    assert token.expires_on > time.time() + 3600
    assert [request["resource"] for request in server.requests] == ["https://eventgrid.azure.net"]


async def test_the_async_credential_passes_its_client_id(server: IdentityServer) -> None:
    async with AsyncManagedIdentityCredential(client_id="22222222-2222-2222-2222-222222222222") as credential:
        token = await credential.get_token("https://storage.azure.com/.default")
    assert read_claims(token.token)["appid"] == "22222222-2222-2222-2222-222222222222"
    assert server.requests[0]["client_id"] == "22222222-2222-2222-2222-222222222222"


def test_a_token_has_every_claim_azurite_asks_for() -> None:
    claims = read_claims(make_token("https://storage.azure.com"))
    assert claims.keys() >= {"aud", "iss", "iat", "nbf", "exp", "oid", "tid", "sub", "appid"}
    assert claims["iss"] == f"https://sts.windows.net/{TENANT_ID}/"
    assert claims["nbf"] <= time.time() < claims["exp"]


def test_two_identities_are_two_principals() -> None:
    first, second = (read_claims(make_token("https://storage.azure.com", name)) for name in ("one", "two"))
    assert first["oid"] != second["oid"]


@pytest.mark.parametrize("header", [None, "", "another"])
def test_a_missing_or_wrong_header_is_401(server: IdentityServer, header: str | None) -> None:
    response = ask(server, header, resource="https://storage.azure.com")
    assert response.status_code == 401
    assert response.json()["statusCode"] == 401


def test_a_missing_resource_is_400(server: IdentityServer) -> None:
    assert ask(server).status_code == 400


def test_a_scope_in_place_of_a_resource_is_400(server: IdentityServer) -> None:
    assert ask(server, resource="https://storage.azure.com/.default").status_code == 400


def test_another_api_version_is_400(server: IdentityServer) -> None:
    assert ask(server, resource="https://storage.azure.com", **{"api-version": "2017-09-01"}).status_code == 400


def test_requests_are_listed_and_cleared(server: IdentityServer) -> None:
    ask(server, resource="https://storage.azure.com")
    ask(server, "wrong", resource="https://storage.azure.com")
    address = server.url.replace("/msi/token", "/_local/requests")
    assert [entry["status"] for entry in httpx.get(address).json()["requests"]] == [200, 401]
    assert httpx.delete(address).json() == {"requests": []}
    assert httpx.get(address).json() == {"requests": []}


@pytest.mark.parametrize("text", ["", "a.b", "a.%%%.c", "a.W10.c"])
def test_what_is_no_token_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_claims(text)
