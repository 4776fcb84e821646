"""Each row of the API reference's error table, provoked in the model server, as the app's callers see it: on the
synchronous routes, through the official client, and in the document of a queued job."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import png
from tests.support.storage import Storage
from tests.support.waiting import ended

ROUTE = "/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview"
REQUEST = {"prompt": "a lighthouse", "quality": "low"}

# What the service says for good: row of the table, status, code, param, type.
REFUSALS = [
    ("invalid_value", 400, "invalid_value", "size", "invalid_request_error"),
    ("invalid_quality", 400, "invalid_value", "quality", "invalid_request_error"),
    ("invalid_type", 400, "invalid_type", "size", "invalid_request_error"),
    ("integer_above_max_value", 400, "integer_above_max_value", "n", "invalid_request_error"),
    ("unknown_parameter", 400, "unknown_parameter", "response_format", "invalid_request_error"),
    ("moderation_blocked", 400, "moderation_blocked", None, "image_generation_user_error"),
    ("moderation_blocked_output", 400, "moderation_blocked", None, "image_generation_user_error"),
    ("content_filter_prompt", 400, "contentFilter", None, "invalid_request_error"),
    ("content_filter_output", 400, "contentFilter", None, "invalid_request_error"),
    ("content_policy_violation", 400, "content_policy_violation", None, "invalid_request_error"),
    ("operation_not_supported", 400, "OperationNotSupported", None, "invalid_request_error"),
    ("unknown_model", 400, "400", "model", "invalid_request_error"),
    ("model_does_not_exist", 400, "invalid_value", "model", "image_generation_user_error"),
    ("invalid_payload", 400, "InvalidPayload", None, "invalid_request_error"),
    ("forbidden", 403, "Forbidden", None, "invalid_request_error"),
    ("too_many_headers", 431, "431", None, "invalid_request_error"),
]
# What is asked again, and what comes of it when the service goes on saying it: status and code.
FAILURES = [
    ("unauthorized", 503, "deployment_unavailable", 1),
    ("invalid_token", 503, "deployment_unavailable", 1),
    ("permission_denied", 503, "deployment_unavailable", 1),
    ("forbidden_network", 503, "deployment_unavailable", 1),
    ("deployment_not_found", 503, "deployment_unavailable", 1),
    ("resource_not_found", 503, "deployment_unavailable", 1),
    ("request_timeout", 502, "service_error", 2),
    ("server_error", 502, "service_error", 2),
    ("internal_error", 502, "service_error", 2),
    ("bad_gateway", 502, "outcome_unknown", 1),
    ("gateway_timeout", 502, "outcome_unknown", 1),
    ("rate_limited", 429, "rate_limit_exceeded", 1),
    ("token_rate_limited", 429, "rate_limit_exceeded", 1),
    ("rate_limit_exceeded", 429, "rate_limit_exceeded", 1),
    ("high_demand", 429, "rate_limit_exceeded", 1),
]
FAR = 600.0
"""Seconds to wait that no synchronous answer can fit."""


def is_error(answer: httpx.Response) -> dict[str, Any]:
    """The `error` member of an answer in the shape of the images API."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert error["message"]
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize(("row", "status", "code", "param", "kind"), REFUSALS, ids=[row[0] for row in REFUSALS])
async def test_a_refusal_reaches_the_caller_as_the_service_said_it(
    app_client: httpx.AsyncClient,
    stack_model: ModelControl,
    stack_storage: Storage,
    row: str,
    status: int,
    code: str,
    param: str | None,
    kind: str,
) -> None:
    stack_model.fail({"name": row, "times": 3})
    answer = await app_client.post(ROUTE, json=REQUEST)
    error = is_error(answer)
    assert (answer.status_code, error["code"], error["param"], error["type"]) == (status, code, param, kind)
    assert answer.headers["x-should-retry"] == "false"
    assert len(stack_model.calls()) == 1
    job = answer.headers["x-darkroom-job"]
    assert stack_storage.outcomes(job) == ["refused"]
    assert stack_storage.results_of(job) == []
    document = (await app_client.get(f"/api/jobs/{job}")).json()
    assert (document["status"], document["error"]) == ("failed", error)


@pytest.mark.parametrize(("row", "status", "code"), [row[:3] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
async def test_an_edit_is_refused_in_the_same_words(
    app_client: httpx.AsyncClient, stack_model: ModelControl, row: str, status: int, code: str
) -> None:
    stack_model.fail({"name": row, "match": {"operation": "edits"}})
    files = {"image": ("image.png", png(), "image/png")}
    answer = await app_client.post(ROUTE.replace("generations", "edits"), data=REQUEST, files=files)

    assert (answer.status_code, is_error(answer)["code"]) == (status, code)
    assert len(stack_model.calls()) == 1


async def test_filter_verdicts_of_a_refusal_are_passed_on(
    app_client: httpx.AsyncClient, stack_model: ModelControl
) -> None:
    stack_model.fail({"name": "content_policy_violation"}, {"name": "moderation_blocked"})
    policy = is_error(await app_client.post(ROUTE, json=REQUEST))
    assert policy["inner_error"]["code"] == "ResponsibleAIPolicyViolation"
    assert policy["inner_error"]["content_filter_results"]["violence"] == {"filtered": True, "severity": "medium"}
    moderation = is_error(await app_client.post(ROUTE, json=REQUEST))
    assert moderation["moderation_details"]["categories"] == ["violence"]


@pytest.mark.parametrize(("row", "status", "code", "calls"), FAILURES, ids=[row[0] for row in FAILURES])
async def test_a_failure_that_goes_on_reaches_the_caller_with_a_code_of_darkroom(
    app_client: httpx.AsyncClient,
    stack_model: ModelControl,
    stack_storage: Storage,
    row: str,
    status: int,
    code: str,
    calls: int,
) -> None:
    wait = {"retry_after_seconds": FAR} if status == 429 else {}
    stack_model.fail({"name": row, "times": 5, **wait})
    answer = await app_client.post(ROUTE, json=REQUEST)
    error = is_error(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    assert len(stack_model.calls()) == calls
    if status == 429:
        assert 1 < float(answer.headers["retry-after-ms"]) / 1000 <= FAR
        assert "x-should-retry" not in answer.headers, "nothing was paid: the caller may come back"
    if code in ("service_error", "outcome_unknown"):
        assert answer.headers["x-should-retry"] == "false"


async def test_a_busy_service_is_waited_for(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    stack_model.fail({"name": "service_unavailable", "headers": {"retry-after-ms": "100"}})
    answer = await app_client.post(ROUTE, json=REQUEST)
    assert answer.status_code == 200
    assert [call["status"] for call in stack_model.calls()] == [503, 200]


async def test_what_the_model_server_refuses_by_itself_is_named_too(
    app_client: httpx.AsyncClient, stack_model: ModelControl
) -> None:
    answer = await app_client.post(ROUTE, json={**REQUEST, "prompt": "[[content_policy_violation]]"})
    assert (answer.status_code, is_error(answer)["code"]) == (400, "content_policy_violation")
    assert len(stack_model.calls()) == 1


async def test_queued_jobs_end_with_the_same_errors(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    stack_model.fail(*({"name": row[0]} for row in REFUSALS))
    submits = (app_client.post("/api/jobs", json={**REQUEST, "prompt": row[0]}) for row in REFUSALS)
    jobs = [answer.json()["id"] for answer in await asyncio.gather(*submits)]

    documents = await ended(app_client, *jobs)
    # Which job met which fault is a matter of turns; each must show what its own call was told.
    told = {call["parameters"]["prompt"]: (call["status"], call["code"]) for call in stack_model.calls()}
    assert len(stack_model.calls()) == len(REFUSALS)
    for document in documents:
        assert document["status"] == "failed"
        status, code = told[document["request"]["prompt"]]
        assert document["error"]["code"] == (code or str(status))
    seen = {
        (document["error"]["code"], document["error"]["param"], document["error"]["type"]) for document in documents
    }
    assert seen == {(code, param, kind) for _, _, code, param, kind in REFUSALS}


@pytest.mark.parametrize(
    ("row", "exception", "status", "code", "calls"),
    [
        ("moderation_blocked", openai.BadRequestError, 400, "moderation_blocked", 1),
        ("forbidden", openai.PermissionDeniedError, 403, "Forbidden", 1),
        ("bad_gateway", openai.InternalServerError, 502, "outcome_unknown", 1),
        ("server_error", openai.InternalServerError, 502, "service_error", 2),
    ],
)
def test_the_official_client_raises_its_own_exception_and_does_not_repeat_a_paid_call(
    stack: StackInfo,
    stack_model: ModelControl,
    stack_storage: Storage,
    row: str,
    exception: type[openai.APIStatusError],
    status: int,
    code: str,
    calls: int,
) -> None:
    stack_model.fail({"name": row, "times": 10})
    with (
        openai.OpenAI(
            base_url=f"{stack.app}/openai/v1",
            api_key="unused",
            default_headers={"x-functions-key": stack.key},
            timeout=60,
        ) as client,
        pytest.raises(exception) as raised,
    ):
        client.images.generate(model="gpt-image-1", prompt="a lighthouse", quality="low")
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert len(stack_model.calls()) == calls


def test_a_wait_is_waited_in_the_stead_of_the_official_client(
    stack: StackInfo, stack_model: ModelControl, stack_storage: Storage
) -> None:
    stack_model.fail({"name": "rate_limited", "retry_after_seconds": 0.2})
    with openai.OpenAI(
        base_url=f"{stack.app}/openai/v1", api_key="unused", default_headers={"x-functions-key": stack.key}, timeout=60
    ) as client:
        answer = client.images.generate(model="gpt-image-1", prompt="a lighthouse", quality="low")
    assert answer.data
    assert [call["status"] for call in stack_model.calls()] == [429, 200]
