"""Signing in the stack as it comes: the app asks the vault with a token, and what it signs is trusted."""

from __future__ import annotations

import base64

import httpx

from local.state import StackInfo
from tests.support.peers import vault_requests
from tests.support.photographs import mask, photograph
from tests.support.requests import run


async def test_an_exact_edit_is_signed_by_the_vaults_key_and_trusted(
    stack: StackInfo, app_client: httpx.AsyncClient
) -> None:
    picture, hole = (base64.b64encode(one).decode() for one in (photograph(), mask()))
    document = await run(app_client, prompt="a boat", images=[{"data": picture}], mask={"data": hole}, preserve="exact")

    (image,) = document["images"]
    (made,) = image["derived"]
    assert image["provenance"] == {"state": "trusted", "issuer": "Local Image Server (test)"}
    assert made["provenance"] == {"state": "trusted", "issuer": "Darkroom local stack (test)"}
    asked = vault_requests(stack)
    assert [entry["path"].rpartition("/")[2] for entry in asked if entry["path"].startswith("/keys/")] == ["sign"]
    assert {(entry["audience"], entry["status"]) for entry in asked} == {("https://vault.azure.net", 200)}


async def test_health_shows_the_identity_that_signs(stack: StackInfo, app_client: httpx.AsyncClient) -> None:
    page = (await app_client.get("/api/health/details")).json()

    signing = page["dependencies"]["signing"]
    assert signing["status"] == "ok"
    assert signing["days_left"] > 3_000
