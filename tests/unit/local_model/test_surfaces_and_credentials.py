"""Section 1 of the API reference: URL shapes, versions, credentials, headers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from local.model.app import create_app
from tests.unit.local_model.conftest import QUICK
from tests.unit.local_model.support import (
    EDITS,
    GENERATIONS,
    PROMPT,
    V1_EDITS,
    V1_GENERATIONS,
    bearer,
    part,
    png,
    token,
)


async def test_dated_and_v1_surfaces_generate_and_edit(client: httpx.AsyncClient) -> None:
    v1 = {**PROMPT, "model": "gpt-image-1"}
    assert (await client.post(GENERATIONS, json=PROMPT)).status_code == 200
    assert (await client.post(V1_GENERATIONS, json=v1)).status_code == 200
    assert (await client.post(V1_GENERATIONS + "?api-version=preview", json=v1)).status_code == 200
    assert (await client.post(EDITS, data=PROMPT, files=[part(png())])).status_code == 200
    assert (await client.post(V1_EDITS, data=v1, files=[part(png())])).status_code == 200


@pytest.mark.parametrize(
    ("operation", "version"),
    [
        ("edits", "2024-02-01"),
        ("edits", "2025-03-01-preview"),
        ("generations", "2023-12-01"),
        ("generations", "v1"),
        ("generations", ""),
    ],
)
async def test_old_or_missing_api_versions_are_resource_not_found(
    client: httpx.AsyncClient, operation: str, version: str
) -> None:
    answer = await client.post(f"/openai/deployments/gpt-image-1/images/{operation}?api-version={version}", json=PROMPT)
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}


async def test_generations_work_on_a_version_where_edits_do_not(client: httpx.AsyncClient) -> None:
    url = "/openai/deployments/gpt-image-1/images/generations?api-version=2024-02-01"
    assert (await client.post(url, json=PROMPT)).status_code == 200


async def test_v1_refuses_a_dated_api_version(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        V1_GENERATIONS + "?api-version=2025-04-01-preview", json={**PROMPT, "model": "gpt-image-1"}
    )
    assert answer.status_code == 400


async def test_unknown_deployment_is_deployment_not_found_on_both_surfaces(client: httpx.AsyncClient) -> None:
    dated = await client.post(GENERATIONS.replace("gpt-image-1", "other"), json=PROMPT)
    v1 = await client.post(V1_GENERATIONS, json={**PROMPT, "model": "gpt-image-1-mini"})
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in (dated, v1)] == [
        (404, "DeploymentNotFound")
    ] * 2


async def test_v1_without_a_model_names_the_field(client: httpx.AsyncClient) -> None:
    answer = await client.post(V1_GENERATIONS, json=PROMPT)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"


async def test_unknown_route_is_resource_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post("/openai/deployments/gpt-image-1/images/variations?api-version=2025-04-01-preview")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "404")


@pytest.mark.parametrize(
    "audience", ["https://cognitiveservices.azure.com", "https://cognitiveservices.azure.com/", "https://ai.azure.com"]
)
async def test_tokens_of_the_known_audiences_are_taken_and_recorded(client: httpx.AsyncClient, audience: str) -> None:
    del client.headers["api-key"]
    answer = await client.post(GENERATIONS, json=PROMPT, headers=bearer(token(audience)))
    call = (await client.get("/_local/calls")).json()[-1]
    assert answer.status_code == 200
    assert (call["auth"], call["audience"]) == ("bearer", audience)
    assert token(audience) not in str(call)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(token("https://storage.azure.com")),
        bearer(token(expires=1_000_000_000)),
        bearer("not-a-token"),
        {"Authorization": "Basic abc"},
        bearer(""),
    ],
    ids=["none", "other audience", "expired", "no token", "basic", "empty"],
)
async def test_bad_credentials_are_401_on_the_dated_path(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    del client.headers["api-key"]
    answer = await client.post(GENERATIONS, json=PROMPT, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "401")


async def test_v1_takes_a_key_as_bearer(client: httpx.AsyncClient) -> None:
    del client.headers["api-key"]
    answer = await client.post(V1_GENERATIONS, json={**PROMPT, "model": "gpt-image-1"}, headers=bearer("plain-key"))
    assert answer.status_code == 200


async def test_a_server_with_listed_keys_refuses_others(state_dir: Path) -> None:
    app = create_app(state_dir, knobs=QUICK, keys=["good"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://model.test") as client:
        good = await client.post(GENERATIONS, json=PROMPT, headers={"api-key": "good"})
        bad = await client.post(GENERATIONS, json=PROMPT, headers={"api-key": "bad"})
    assert (good.status_code, bad.status_code) == (200, 401)
    assert "invalid subscription key" in bad.json()["error"]["message"]


async def test_answers_carry_the_headers_of_the_service(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json=PROMPT, headers={"x-ms-client-request-id": "mine"})
    expected = {
        "x-ms-region": "westus3",
        "x-ms-client-request-id": "mine",
        "x-content-type-options": "nosniff",
        "x-ms-deployment-name": "gpt-image-1",
        "content-type": "application/json",
        "content-length": str(len(answer.content)),
    }
    assert {name: answer.headers[name] for name in expected} == expected
    assert answer.headers["apim-request-id"] == answer.headers["x-request-id"]


async def test_more_than_ten_custom_headers_are_431(client: httpx.AsyncClient) -> None:
    ten = {f"x-mine-{number}": "1" for number in range(10)}
    usual = {"x-stainless-lang": "python", "x-ms-client-request-id": "1"}
    assert (await client.post(GENERATIONS, json=PROMPT, headers={**ten, **usual})).status_code == 200
    assert (await client.post(GENERATIONS, json=PROMPT, headers={**ten, "x-mine-10": "1"})).status_code == 431


async def test_a_deployment_path_tolerates_model_in_the_body_only_for_the_older_models(
    client: httpx.AsyncClient,
) -> None:
    body = {**PROMPT, "model": "my-deployment"}
    assert (await client.post(GENERATIONS, json=body)).status_code == 200
    newer = await client.post(GENERATIONS.replace("gpt-image-1", "two"), json=body)
    assert (newer.status_code, newer.json()["error"]["param"]) == (400, "model")
