"""Section 5 of the API reference: every documented error, by name and where a request provokes it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from local.model.errors import NAMED, PROMPT_MARKERS
from tests.unit.local_model.support import EDITS, GENERATIONS, PROMPT, part, png

EXPECTED: dict[str, tuple[int, str | None]] = {
    "invalid_value": (400, "invalid_value"),
    "invalid_quality": (400, "invalid_value"),
    "invalid_type": (400, "invalid_type"),
    "integer_above_max_value": (400, "integer_above_max_value"),
    "unknown_parameter": (400, "unknown_parameter"),
    "moderation_blocked": (400, "moderation_blocked"),
    "moderation_blocked_output": (400, "moderation_blocked"),
    "content_filter_prompt": (400, "contentFilter"),
    "content_filter_output": (400, "contentFilter"),
    "content_policy_violation": (400, "content_policy_violation"),
    "operation_not_supported": (400, "OperationNotSupported"),
    "unknown_model": (400, None),
    "model_does_not_exist": (400, "invalid_value"),
    "invalid_payload": (400, "InvalidPayload"),
    "unauthorized": (401, "401"),
    "invalid_token": (401, "401"),
    "permission_denied": (401, "PermissionDenied"),
    "forbidden": (403, "Forbidden"),
    "forbidden_network": (403, "403"),
    "deployment_not_found": (404, "DeploymentNotFound"),
    "resource_not_found": (404, "404"),
    "request_timeout": (408, "Timeout"),
    "too_many_headers": (431, "431"),
    "rate_limited": (429, "429"),
    "token_rate_limited": (429, "429"),
    "rate_limit_exceeded": (429, "429"),
    "high_demand": (429, "429"),
    "server_error": (500, None),
    "internal_error": (500, "InternalServerError"),
    "bad_gateway": (502, "BadGateway"),
    "service_unavailable": (503, "ServiceUnavailable"),
    "gateway_timeout": (504, "GatewayTimeout"),
}


def test_every_row_is_expected_here() -> None:
    assert set(EXPECTED) == set(NAMED)


@pytest.mark.parametrize("name", NAMED)
async def test_a_named_error_answers_one_generation_and_one_edit(client: httpx.AsyncClient, name: str) -> None:
    await client.put("/_local/behaviour", json={"faults": [{"name": name, "times": 2}]})
    generation = await client.post(GENERATIONS, json=PROMPT)
    edit = await client.post(EDITS, data=PROMPT, files=[part(png())])
    assert (await client.get("/_local/behaviour")).json()["faults"] == []
    for answer in (generation, edit):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == EXPECTED[name]
        assert error["message"]
        assert ("retry-after-ms" in answer.headers) == (answer.status_code == 429)


async def test_a_named_429_waits_as_long_as_it_is_told_to(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"faults": [{"name": "rate_limited", "retry_after_seconds": 2.5}]})
    answer = await client.post(GENERATIONS, json=PROMPT)
    assert (answer.headers["retry-after-ms"], answer.headers["retry-after"]) == ("2500", "3")


@pytest.mark.parametrize("name", PROMPT_MARKERS)
async def test_a_marker_in_the_prompt_provokes_its_refusal(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(GENERATIONS, json={"prompt": f"a picture [[{name}]] of it"})
    assert (answer.status_code, answer.json()["error"]["code"]) == EXPECTED[name]


async def test_moderation_names_the_request_and_the_stage(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json={"prompt": "[[moderation_blocked_output]]"})
    error = answer.json()["error"]
    assert error["type"] == "image_generation_user_error"
    assert answer.headers["apim-request-id"] in error["message"]
    assert error["message"].endswith("safety_violations=[violence].")
    assert error["moderation_details"] == {"moderation_stage": "output", "categories": ["violence"]}


async def test_a_policy_violation_carries_its_inner_error(client: httpx.AsyncClient) -> None:
    error = (await client.post(GENERATIONS, json={"prompt": "[[content_policy_violation]]"})).json()["error"]
    assert error["inner_error"]["code"] == "ResponsibleAIPolicyViolation"
    assert error["inner_error"]["content_filter_results"]["violence"] == {"filtered": True, "severity": "medium"}


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ({"status": 503}, 503, {"error": {"code": "503", "message": "Service Unavailable"}}),
        ({"status": 500, "body": {"error": "odd"}}, 500, {"error": "odd"}),
        ({"status": 429, "headers": {"Retry-After": "7"}}, 429, None),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, 502, None),
    ],
)
async def test_any_status_body_and_headers_can_be_answered(
    client: httpx.AsyncClient, fault: dict[str, Any], status: int, body: dict[str, Any] | None
) -> None:
    await client.put("/_local/behaviour", json={"faults": [fault]})
    answer = await client.post(GENERATIONS, json=PROMPT)
    assert answer.status_code == status
    if body is not None:
        assert answer.json() == body
    if isinstance(fault.get("body"), str):
        assert answer.text == fault["body"]
        assert answer.headers["content-type"].startswith("text/plain")
    for name, value in fault.get("headers", {}).items():
        assert answer.headers[name] == value
