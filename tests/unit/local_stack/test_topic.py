"""The local Event Grid topic: what it takes, from whom, and how it brings it to subscribers."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.messaging import CloudEvent
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import ManagedIdentityCredential
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.azurite import StorageAccount
from local.certificates import Certificates
from local.cloudevents import BATCH
from local.identity import make_token
from local.processes import Supervisor
from local.topic import MAX_REQUEST_BYTES, Topic

EVENT = {"specversion": "1.0", "id": "j/succeeded", "source": "/darkroom/local", "type": "Darkroom.Job.Succeeded"}
AUDIENCE = "https://eventgrid.azure.net"


class Subscriber:
    """A webhook that answers deliveries with the statuses it is given, the last one for ever."""

    def __init__(self, statuses: Sequence[int] = (200,), allow: str | None = "*", handshake: int = 200) -> None:
        self.statuses = list(statuses)
        self.allow = allow
        self.handshake = handshake
        self.deliveries: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.handshakes: list[dict[str, str]] = []
        self.changed = asyncio.Condition()
        self.app = Starlette(routes=[Route("/hook", self.answer, methods=["OPTIONS", "POST"])])

    async def answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            self.handshakes.append(dict(request.headers))
            headers = {} if self.allow is None else {"WebHook-Allowed-Origin": self.allow}
            return Response(status_code=self.handshake, headers=headers)
        async with self.changed:
            self.deliveries.append((dict(request.headers), await request.json()))
            self.changed.notify_all()
        return Response(status_code=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.deliveries) >= count)


class Harness:
    """A topic with one subscriber behind it, and a client that talks to the topic."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.topic = Topic(ssl.create_default_context(), httpx.ASGITransport(app=subscriber.app))
        self.topic.subscriptions.retry_scale = 0
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.topic.app), base_url="https://127.0.0.1:1"
        )

    async def publish(self, *events: dict[str, Any], **headers: str) -> httpx.Response:
        body = json.dumps(events or (EVENT,)).encode()
        return await self.client.post("/api/events", content=body, headers={**authorized(), **headers})

    async def subscribe(self, **members: Any) -> httpx.Response:
        body = {"name": "flow", "endpoint": "https://localhost/hook", **members}
        return await self.client.post("/_local/subscriptions", json=body)

    async def idle(self) -> None:
        async with asyncio.timeout(10):
            await self.topic.subscriptions.idle()

    async def events(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get("/_local/events", params=query)).json()["events"]
        return found


def authorized(audience: str = AUDIENCE) -> dict[str, str]:
    return {"content-type": BATCH, "authorization": f"Bearer {make_token(audience)}"}


@pytest.fixture
async def harness() -> AsyncIterator[Callable[..., Harness]]:
    made: list[Harness] = []

    def make(**subscriber: Any) -> Harness:
        made.append(Harness(Subscriber(**subscriber)))
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()
        await each.topic.subscriptions.close()


async def test_a_batch_is_kept_newest_last_and_found_by_subject_type_and_id(harness: Callable[..., Harness]) -> None:
    h = harness()
    assert (await h.publish({**EVENT, "id": "a", "subject": "jobs/a"}, {**EVENT, "id": "b"})).status_code == 200
    response = await h.publish({**EVENT, "id": "c", "type": "Darkroom.Job.Failed"})
    assert (response.status_code, response.content) == (200, b"")
    assert [event["id"] for event in await h.events()] == ["a", "b", "c"]
    assert [event["id"] for event in await h.events(subject="jobs/a")] == ["a"]
    assert [event["id"] for event in await h.events(type="Darkroom.Job.Failed")] == ["c"]
    assert [event["id"] for event in await h.events(id="b")] == ["b"]
    await h.client.delete("/_local/events")
    assert await h.events() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer not-a-token"},
        {"authorization": f"Bearer {make_token('https://storage.azure.com')}"},
        {"authorization": f"Bearer {make_token(AUDIENCE, lifetime=-60)}"},
        {"aeg-sas-key": "a2V5"},
        {"aeg-sas-token": "r=x&e=y&s=z"},
    ],
    ids=["nothing", "garbage", "wrong audience", "expired", "key", "sas"],
)
async def test_anything_but_a_token_for_event_grid_is_401(
    harness: Callable[..., Harness], headers: dict[str, str]
) -> None:
    h = harness()
    response = await h.publish(EVENT, **headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "Unauthorized"
    assert await h.events() == []


async def test_a_broken_event_is_400_with_event_grids_error_and_nothing_is_kept(
    harness: Callable[..., Harness],
) -> None:
    h = harness()
    response = await h.publish(EVENT, {"id": "x"})
    assert response.status_code == 400
    assert "specversion" in response.json()["error"]["details"][0]["message"]
    assert await h.events() == []


async def test_a_request_over_one_megabyte_is_413(harness: Callable[..., Harness]) -> None:
    h = harness()
    assert (await h.publish({**EVENT, "data": "x" * MAX_REQUEST_BYTES})).status_code == 413
    assert (await h.publish({**EVENT, "data": "x" * (MAX_REQUEST_BYTES - 500)})).status_code == 200


async def test_faults_answer_the_next_publishes_and_then_pass(harness: Callable[..., Harness]) -> None:
    h = harness()
    await h.client.put("/_local/behaviour", json={"faults": [{"count": 2, "status": 503}, {"status": 429}]})
    assert [(await h.publish()).status_code for _ in range(4)] == [503, 503, 429, 200]
    assert len(await h.events()) == 1
    publishes = (await h.client.get("/_local/publishes")).json()["publishes"]
    assert [publish["status"] for publish in publishes] == [503, 503, 429, 200]
    assert {publish["audience"] for publish in publishes} == {AUDIENCE}


async def test_a_lost_answer_leaves_the_event_taken(harness: Callable[..., Harness]) -> None:
    h = harness()
    await h.client.put("/_local/behaviour", json={"faults": [{"status": 500, "keep": True}]})
    assert [(await h.publish()).status_code for _ in range(2)] == [500, 200]
    assert len(await h.events()) == 2


@pytest.mark.parametrize("wanted", [{"speed": 1}, {"faults": [{"statuss": 1}]}, {"faults": 3}, []])
async def test_an_unknown_knob_is_refused(harness: Callable[..., Harness], wanted: Any) -> None:
    assert (await harness().client.put("/_local/behaviour", json=wanted)).status_code == 400


@pytest.mark.parametrize("allow", ["*", "eventgrid.azure.net"])
async def test_a_subscriber_that_consents_gets_each_event_once(harness: Callable[..., Harness], allow: str) -> None:
    h = harness(allow=allow)
    response = await h.subscribe()
    assert (response.status_code, response.json()["state"]) == (201, "Succeeded")
    assert h.subscriber.handshakes[0]["webhook-request-origin"] == "eventgrid.azure.net"
    await h.publish(EVENT, {**EVENT, "id": "second"})
    await h.subscriber.wait_for(2)
    headers, event = h.subscriber.deliveries[0]
    assert event == EVENT
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert (headers["aeg-event-type"], headers["aeg-delivery-count"]) == ("Notification", "0")
    await h.idle()
    assert len(h.subscriber.deliveries) == 2


@pytest.mark.parametrize("handshake", [400, 404, 405, 500])
async def test_a_subscriber_that_refuses_the_handshake_is_not_kept(
    harness: Callable[..., Harness], handshake: int
) -> None:
    h = harness(handshake=handshake)
    assert (await h.subscribe()).status_code == 400
    assert (await h.client.get("/_local/subscriptions")).json() == {"subscriptions": []}


@pytest.mark.parametrize("allow", [None, "example.com"])
async def test_a_subscriber_without_consent_gets_nothing_until_its_callback_is_called(
    harness: Callable[..., Harness], allow: str | None
) -> None:
    h = harness(allow=allow)
    assert (await h.subscribe()).json()["state"] == "AwaitingManualAction"
    await h.publish({**EVENT, "id": "before"})
    callback = h.subscriber.handshakes[0]["webhook-request-callback"]
    assert (await h.client.get(callback.partition("?")[0])).status_code == 404
    assert (await h.client.get(callback)).status_code == 200
    await h.publish({**EVENT, "id": "after"})
    await h.subscriber.wait_for(1)
    assert [event["id"] for _, event in h.subscriber.deliveries] == ["after"]


@pytest.mark.parametrize(
    "endpoint",
    ["https://example.com/hook", "http://10.0.0.1/hook", "ftp://localhost/", "https://localhost.example.com/", 7, None],
)
async def test_an_endpoint_beyond_this_machine_is_refused(harness: Callable[..., Harness], endpoint: Any) -> None:
    h = harness()
    assert (await h.subscribe(endpoint=endpoint)).status_code == 400
    assert h.subscriber.handshakes == []


async def test_filters_let_through_what_they_name(harness: Callable[..., Harness]) -> None:
    h = harness()
    await h.subscribe(filters={"subjectBeginsWith": "jobs/A", "includedEventTypes": ["Darkroom.Job.Failed"]})
    wanted = {**EVENT, "type": "Darkroom.Job.Failed", "subject": "Jobs/ab"}
    await h.publish({**EVENT, "subject": "jobs/a"}, {**wanted, "subject": "jobs/b"}, wanted)
    await h.subscriber.wait_for(1)
    await h.idle()
    assert [event for _, event in h.subscriber.deliveries] == [wanted]


async def test_a_failing_subscriber_is_tried_again_until_it_answers_well(harness: Callable[..., Harness]) -> None:
    h = harness(statuses=[500, 404, 301, 503, 202])
    await h.subscribe()
    await h.publish()
    await h.subscriber.wait_for(5)
    await h.idle()
    assert [headers["aeg-delivery-count"] for headers, _ in h.subscriber.deliveries] == ["0", "1", "2", "3", "4"]
    assert (await h.client.get("/_local/dead-letters")).json() == {"deadLetters": []}


async def test_an_event_nobody_takes_becomes_a_dead_letter_after_the_last_attempt(
    harness: Callable[..., Harness],
) -> None:
    h = harness(statuses=[500])
    await h.subscribe(maxDeliveryAttempts=3)
    await h.publish()
    await h.idle()
    (letter,) = (await h.client.get("/_local/dead-letters")).json()["deadLetters"]
    assert (letter["deliveryAttempts"], letter["deadLetterReason"]) == (3, "MaxDeliveryAttemptsExceeded")
    assert letter["event"] == EVENT
    assert len(h.subscriber.deliveries) == 3


@pytest.mark.parametrize("status", [400, 413])
async def test_a_final_refusal_is_not_tried_again(harness: Callable[..., Harness], status: int) -> None:
    h = harness(statuses=[status])
    await h.subscribe()
    await h.publish()
    await h.idle()
    assert len(h.subscriber.deliveries) == 1


async def test_waits_between_deliveries_follow_event_grids_schedule(
    harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def remember(seconds: float) -> None:
        if seconds:
            waits.append(seconds)
        await real_sleep(0)

    h = harness(statuses=[500])
    h.topic.subscriptions.retry_scale = 1.0
    await h.subscribe(maxDeliveryAttempts=10)
    monkeypatch.setattr("local.subscriptions.asyncio.sleep", remember)
    await h.publish()
    await h.idle()
    assert waits == [10, 30, 60, 300, 600, 1800, 3600, 3600, 3600]


async def test_the_event_grid_sdk_publishes_with_a_managed_identity_over_https(
    azurite_environment: StorageAccount, certificates: Certificates, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "local.topic", "--cert", str(certificates.cert), "--key", str(certificates.key)]
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("topic", command, ready={"url": r"^ready (\S+)"}, env=os.environ)
        supervisor.wait_ready(child, timeout=30)
        url = child.found["url"]
        event = CloudEvent(source="/darkroom/local", type="Darkroom.Job.Succeeded", subject="jobs/x", data={"id": "x"})
        async with (
            ManagedIdentityCredential() as credential,
            EventGridPublisherClient(f"{url}/api/events", credential) as publisher,
        ):
            await publisher.send([event])
        async with httpx.AsyncClient() as client:
            (kept,) = (await client.get(f"{url}/_local/events", params={"subject": "jobs/x"})).json()["events"]
            (publish,) = (await client.get(f"{url}/_local/publishes")).json()["publishes"]
    assert (kept["id"], kept["data"]) == (event.id, {"id": "x"})
    assert (publish["mode"], publish["audience"], publish["status"]) == ("batch", AUDIENCE, 200)
