"""The source of blob events, between a container that the test fills and a webhook that the test answers for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local.host import blob_events
from local.host.blob_behaviour import Behaviour
from local.host.blob_events import BlobEvents
from local.host.blob_storage import Blob, BlobAccount
from local.host.blob_subscription import Subscription
from local.host.queues import StorageError
from tests.support.waiting import eventually

KEY = "k&y"


class Container(BlobAccount):
    """An account with one container, held in memory: `blobs` by name, their ETags."""

    def __init__(self) -> None:
        super().__init__("https://127.0.0.1:1/account", None)  # type: ignore[arg-type]  # nothing is asked of it
        self.blobs: dict[str, str] = {}
        self.looks = 0
        self.is_broken = False

    async def list(self, container: str) -> list[Blob]:
        assert container == "drops"
        self.looks += 1
        if self.is_broken:
            raise StorageError("503")
        return [Blob(name, etag, "BlockBlob", "", 0, "", "", "") for name, etag in self.blobs.items()]


class Webhook:
    """Answers with the next of `answers`, else 202, and keeps what it was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.answers: list[int] = []

    @property
    def names(self) -> list[str]:
        return [event["subject"].rpartition("/")[2] for _, [event] in self.calls]

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append((request.headers["aeg-delivery-count"], await request.json()))
        self.queries.append(dict(request.query))
        return web.Response(status=self.answers.pop(0) if self.answers else 202)


type Start = Callable[..., Awaitable[BlobEvents]]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_events, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(blob_events, "_RETRY_SECONDS", (0,))


@pytest.fixture
async def container() -> Container:
    return Container()


@pytest.fixture
async def webhook() -> Webhook:
    return Webhook()


@pytest.fixture
async def start(container: Container, webhook: Webhook) -> AsyncIterator[Start]:
    """Starts the source for one function, or for those that are named."""
    application = web.Application()
    application.router.add_post("/webhook", webhook.answer)
    started: list[BlobEvents] = []
    async with TestServer(application) as server:

        async def begin(*functions: str, **behaviour: Any) -> BlobEvents:
            subscriptions = [Subscription(function, container, "drops") for function in functions or ("f",)]
            events = BlobEvents(subscriptions, str(server.make_url("/webhook")), KEY)
            events.behave(Behaviour(**behaviour))
            await events.start()
            started.append(events)
            return events

        yield begin
        for events in started:
            await events.stop()


async def idle(events: BlobEvents, delivered: int) -> None:
    await eventually(lambda: events.counters.delivered == delivered and events.counters.waiting == 0)


async def test_every_write_is_delivered_to_each_subscription_once(
    start: Start, container: Container, webhook: Webhook
) -> None:
    events = await start("Host.Functions.f", "Host.Functions.g")
    container.blobs["a"] = "1"
    await idle(events, 2)
    container.blobs["a"] = "2"
    await idle(events, 4)

    assert [event["data"]["eTag"] for _, [event] in webhook.calls] == ["1", "1", "2", "2"]
    assert {query["functionName"] for query in webhook.queries} == {"Host.Functions.f", "Host.Functions.g"}
    assert {query["code"] for query in webhook.queries} == {KEY}


async def test_a_delivery_that_fails_comes_again_until_it_is_taken(
    start: Start, container: Container, webhook: Webhook
) -> None:
    webhook.answers = [500, 503, 404]
    events = await start()
    container.blobs["a"] = "1"
    await idle(events, 1)

    assert [count for count, _ in webhook.calls] == ["0", "1", "2", "3"]
    assert len({event["id"] for _, [event] in webhook.calls}) == 1
    assert events.counters.failed == 3


@pytest.mark.parametrize("status", [400, 413])
async def test_what_a_webhook_says_it_never_takes_is_not_sent_again(
    start: Start, container: Container, webhook: Webhook, status: int
) -> None:
    webhook.answers = [status]
    events = await start()
    container.blobs["a"] = "1"
    await eventually(lambda: events.counters.failed == 1 and events.counters.waiting == 0)

    assert (len(webhook.calls), events.counters.delivered) == (1, 0)


async def test_a_duplicate_is_the_same_event(start: Start, container: Container, webhook: Webhook) -> None:
    events = await start(duplicate=1)
    container.blobs["a"] = "1"
    await idle(events, 2)

    assert len({event["id"] for _, [event] in webhook.calls}) == 1
    assert events.counters.duplicates == 1


async def test_a_third_of_many_events_comes_twice(start: Start, container: Container) -> None:
    events = await start(duplicate=0.33, seed=1)
    container.blobs |= {str(number): "1" for number in range(60)}
    await eventually(lambda: events.counters.seen == 60 and events.counters.waiting == 0)

    assert 0 < events.counters.duplicates < 60
    assert events.counters.delivered == 60 + events.counters.duplicates


async def test_a_delayed_event_is_on_its_way_while_others_overtake_it(
    start: Start, container: Container, webhook: Webhook
) -> None:
    events = await start(delay_seconds=(600, 600))
    container.blobs["late"] = "1"
    await eventually(lambda: events.counters.waiting == 1)
    events.behave(Behaviour())
    container.blobs["quick"] = "1"
    await eventually(lambda: events.counters.delivered == 1)

    assert webhook.names == ["quick"]
    assert (events.counters.waiting, events.counters.held) == (1, 0)


async def test_shuffled_events_of_one_look_come_in_an_order_that_the_seed_repeats(
    start: Start, container: Container, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_events, "_IN_FLIGHT", 1)
    names = [str(number) for number in range(10, 30)]
    orders = []
    for _ in range(2):
        container.blobs, webhook.calls = {}, []
        events = await start(shuffle=True, seed=5)
        container.blobs = dict.fromkeys(names, "1")
        await idle(events, 20)
        await events.stop()
        orders.append(webhook.names)

    assert orders[0] == orders[1] != names
    assert sorted(orders[0]) == names


async def test_held_events_wait_for_their_release_and_a_reset_releases(
    start: Start, container: Container, webhook: Webhook
) -> None:
    events = await start(hold=True)
    container.blobs["a"] = "1"
    await eventually(lambda: events.counters.held == 1)
    assert webhook.calls == []

    events.reset()
    await idle(events, 1)
    assert webhook.names == ["a"]


async def test_a_container_that_cannot_be_listed_is_asked_again_and_complained_of_once(
    start: Start, container: Container, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    container.is_broken = True
    with caplog.at_level(logging.WARNING, "host.blob_events"):
        events = await start()
        await eventually(lambda: container.looks > 3)
        container.is_broken = False
        looks = container.looks
        await eventually(lambda: container.looks > looks + 1)
        container.blobs["a"] = "1"
        await idle(events, 1)

    assert len([record for record in caplog.records if "cannot be watched" in record.message]) == 1
    assert webhook.names == ["a"]


async def test_no_webhook_at_all_is_waited_for(container: Container) -> None:
    events = BlobEvents([Subscription("f", container, "drops")], "http://127.0.0.1:9/webhook", KEY)
    await events.start()
    container.blobs["a"] = "1"
    await eventually(lambda: events.counters.failed > 1)

    async with asyncio.timeout(10):
        await events.stop()
    assert events.counters.waiting == 0
