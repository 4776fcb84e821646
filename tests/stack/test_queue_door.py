"""The queue door on the running stack: messages written by a program that knows nothing of Darkroom."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from azure.storage.queue import QueueClient

from local.state import StackInfo
from tests.support import peers
from tests.support.storage import StaticCredential
from tests.support.waiting import eventually

REQUEST = {"prompt": "a lighthouse", "quality": "low", "id": "order-1017"}


def plain(data: object) -> str:
    return json.dumps(data)


def encoded(data: object) -> str:
    return base64.b64encode(json.dumps(data).encode()).decode()


@pytest.fixture
def queue(stack: StackInfo) -> Iterator[QueueClient]:
    with QueueClient(
        stack.queue, "image-requests", credential=StaticCredential(), connection_verify=stack.ca
    ) as client:
        yield client


@pytest.mark.parametrize("form", [plain, encoded])
async def test_a_message_becomes_an_image_and_an_event(
    queue: QueueClient, stack: StackInfo, form: Callable[[object], str]
) -> None:
    queue.send_message(form({**REQUEST, "id": form.__name__}))
    queue.send_message(form({**REQUEST, "id": form.__name__}))
    events = await eventually(lambda: peers.events_of(stack, "queue"), what="the event of the job")

    assert [event["type"] for event in events] == ["Darkroom.Job.Succeeded"]
    assert events[0]["data"]["images"]


async def test_a_message_that_is_no_json_is_a_failed_event_and_not_five_silent_tries(
    queue: QueueClient, stack: StackInfo, app_client: httpx.AsyncClient
) -> None:
    queue.send_message("make me a picture")
    [event] = await eventually(lambda: peers.events_of(stack, "queue"), what="the event of the failed job")
    job = (await app_client.get(f"/api/jobs/{event['data']['id']}")).json()

    assert event["type"] == "Darkroom.Job.Failed"
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_json")
