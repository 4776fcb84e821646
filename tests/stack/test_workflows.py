"""The workflows of infra/workflows at work, and each of their calls held against the OpenAPI document."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.certificates import Certificates
from local.identity import make_token
from local.state import StackInfo
from tests.infra.test_workflows import WORKFLOWS, operation_of
from tests.support.logic_app import Run, TimedOutError
from tests.support.model_control import ModelControl
from tests.support.peers import blob, events
from tests.support.photographs import mask, photograph
from tests.support.pictures import base64_text, png
from tests.support.receiver import Receiver, receiving
from tests.support.requests import job, run
from tests.support.schemas import fits
from tests.support.waiting import eventually

AUDIENCE = "api://darkroom"
STORAGE = "https://storage.azure.com/"


@pytest.fixture
async def client(stack: StackInfo) -> AsyncIterator[httpx.AsyncClient]:
    trust = ssl.create_default_context(cafile=stack.ca)
    async with httpx.AsyncClient(verify=trust, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
async def receiver(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


@pytest.fixture
def start(stack: StackInfo, client: httpx.AsyncClient) -> Callable[..., Awaitable[Run]]:
    """`start(which, trigger, callback=..., parameters=..., name=...)`: a run of a workflow, to its end."""
    credentials = {
        AUDIENCE: {"x-functions-key": stack.key},
        STORAGE: {"authorization": f"Bearer {make_token('https://storage.azure.com')}"},
    }
    given = {"appUrl": stack.app, "audience": AUDIENCE, "blobEndpoint": f"{stack.blob}/"}

    async def started(which: str, trigger: Any, **options: Any) -> Run:
        definition = WORKFLOWS[which]
        parameters = {**given, **options.pop("parameters", {})}
        known = {one: parameters[one] for one in definition["parameters"]}
        return await Run(definition, known, trigger, credentials, client, **options).go()

    return started


def refuse_undescribed(found: Run, stack: StackInfo) -> None:
    """Every call of the app is one the document has, its body as the document says."""
    calls = [call for call in found.calls if str(call.url).startswith(stack.app)]
    assert calls
    for call in calls:
        path, operation = operation_of(call.method, urlsplit(str(call.url)).path)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            assert fits(body["schema"]["$ref"].rpartition("/")[2], json.loads(call.content)), path


async def test_a_workflow_generates_and_waits(
    start: Callable[..., Awaitable[Run]], stack: StackInfo, model: ModelControl
) -> None:
    request = {"prompt": "a lighthouse that is asked for twice", "quality": "low", "n": 2}
    found = await start("generate-and-wait", request, name="08585-once")
    again = await start("generate-and-wait", request, name="08585-once")

    assert found.response is not None
    status, answer = found.response
    assert (status, len(answer["images"]), answer["cost"]["currency"]) == (200, 2, "USD")
    assert again.response is not None
    assert again.response[1]["job"] == answer["job"]
    assert [call["parameters"]["prompt"] for call in model.calls()].count(request["prompt"]) == 1
    assert len(found.calls) > 1, "it polls"
    refuse_undescribed(found, stack)


async def test_a_workflow_says_why_nothing_was_generated(
    start: Callable[..., Awaitable[Run]], model: ModelControl
) -> None:
    model.fail({"name": "moderation_blocked"})
    found = await start("generate-and-wait", {"prompt": "a lighthouse", "quality": "low"}, name="08586")

    assert found.response is not None
    assert found.response[0] == 422
    assert found.response[1]["error"]["code"]


@pytest.mark.parametrize("approved", [True, False])
@pytest.mark.parametrize("encoded", [True, False])
async def test_a_workflow_asks_for_approval_and_removes_what_is_refused(
    start: Callable[..., Awaitable[Run]],
    app_client: httpx.AsyncClient,
    stack: StackInfo,
    receiver: Receiver,
    approved: bool,
    encoded: bool,
) -> None:
    made = await run(app_client, metadata={"order": "7"})
    [event] = await eventually(lambda: events(stack, made["id"]), what="the event")
    text = json.dumps(event)
    message = {"MessageId": "1", "PopReceipt": "p", "MessageText": text}
    if encoded:
        message["MessageText"] = base64.b64encode(text.encode()).decode()

    async def decide() -> Any:
        return {"approved": approved}

    parameters = {
        "$connections": {"azurequeues": {"connectionId": "c"}},
        "approvalUrl": f"{receiver.url}/approvals",
        "storageAccountName": "account",
        "queueName": "job-events",
    }
    callback = (f"{receiver.url}/decision", decide)
    found = await start("approve-results", message, callback=callback, parameters=parameters)

    [asked] = receiver.requests
    shown = json.loads(asked.body)
    assert (shown["job"], shown["metadata"], shown["answer_to"]) == (made["id"], {"order": "7"}, callback[0])
    assert len(shown["images"]) == 1
    assert [one["method"] for one in found.connected] == ["delete"]
    after = await job(app_client, made["id"])
    assert ("purged_at" in after) == (not approved)
    refuse_undescribed(found, stack)


def called_back(receiver: Receiver) -> Callable[[], Awaitable[Any]]:
    async def wait() -> Any:
        [heard] = await eventually(lambda: list(receiver.requests), within=60, what="the callback")
        return json.loads(heard.body)

    return wait


async def test_a_workflow_drops_an_image_and_a_mask_and_takes_the_result(
    start: Callable[..., Awaitable[Run]], stack: StackInfo, receiver: Receiver
) -> None:
    trigger = {
        "prompt": "a red door",
        "image": base64.b64encode(photograph()).decode(),
        "mask": base64.b64encode(mask()).decode(),
    }
    callback = (f"{receiver.url}/run?sig=secret", called_back(receiver))
    found = await start("drop-and-collect", trigger, callback=callback, name="08587")

    told = found.results["Drop_the_request_and_wait"][1]
    assert found.response is not None
    status, image = found.response
    assert fits("JobEnded", told)
    assert (told["data"]["kind"], told["data"]["owner"], told["data"]["metadata"]) == (
        "edit",
        "upload",
        {"run": "08587"},
    )
    assert status == 200
    assert image == blob(stack, told["data"]["images"][0]["blob"]).download_blob().readall()


async def test_a_workflow_says_what_was_wrong_with_what_it_dropped(
    start: Callable[..., Awaitable[Run]], stack: StackInfo, receiver: Receiver
) -> None:
    async def nobody_calls() -> Any:
        note = blob(stack, "uploads/08588/error.json")
        await eventually(note.exists, within=60, what="the note of what was wrong")
        raise TimedOutError

    trigger = {"prompt": "a red door", "image": base64.b64encode(photograph()).decode(), "mask": base64_text(png())}
    callback = (f"{receiver.url}/run", nobody_calls)
    found = await start("drop-and-collect", trigger, callback=callback, name="08588")

    assert found.results["Did_it_succeed"] == ("Skipped", None)
    assert found.response is not None
    status, note = found.response
    assert (status, note["error"]["code"]) == (422, "invalid_mask")
    assert receiver.requests == []
