"""Subscriptions at work: each end is told to whom it concerns, until it is taken or nobody listens any more."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from functions import jobs
from local.certificates import Certificates
from shared.jobs import rows
from shared.jobs.outbox import UndeliverableError
from shared.jobs.subscriptions import SubscriptionStore
from shared.pipeline import accept, announce, deliveries, messages, subscriptions
from shared.pipeline.rooms import rooms
from shared.platform import outbound
from shared.platform.principals import Caller
from tests.support.announcing import first_tries, next_round
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.receiver import Receiver, answer, receiving
from tests.support.subscribing import SETTINGS, body, end, listed, read, subscribe
from tests.support.waiting import eventually

Configure = Callable[..., None]


@pytest.fixture
async def other(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


@pytest.fixture
def hooked(app: App, configure: Configure) -> App:
    """The app, configured to call receivers; it has no key for callbacks."""
    configure([deployment(app.model.url)], **SETTINGS)
    return app


def waiting(app: App) -> list[dict[str, Any]]:
    """The deliveries in the outbox."""
    return [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("d:")]


def told(receiver: Receiver, secret: str) -> list[dict[str, Any]]:
    """What the receiver got, each checked with the secret of its subscription."""
    return [Webhook(secret).verify(heard.body, heard.headers) for heard in receiver.requests]


async def failing_since(app: App, subscription_id: str, since: datetime | None) -> None:
    """Let the receiver of a subscription have failed since that time."""
    store = (await rooms()).subscriptions
    found = await store.get(subscription_id)
    assert found is not None
    await store._change(found, dataclasses.replace(found, failing_since=since))


async def test_an_ended_job_is_posted_signed_with_the_subscriptions_secret_and_links_that_work(
    hooked: App, receiver: Receiver, certificates: Certificates
) -> None:
    target = "/workflows/0f/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-b_c%2B"
    made = await subscribe(f"{receiver.url}{target}")
    job = await hooked.run(metadata={"order": "7"}, prompt="a tangerine lamp")
    await first_tries()

    (message,) = told(receiver, made["secret"])
    (heard,) = receiver.requests
    assert (heard.method, heard.target) == ("POST", target)
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == f"{job.id}/succeeded"
    assert (message["type"], message["data"]["id"]) == ("Darkroom.Job.Succeeded", job.id)
    assert message["data"]["metadata"] == {"order": "7"}
    assert "tangerine" not in heard.body.decode()
    (image,) = message["data"]["images"]
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=certificates.ca), trust_env=False) as anybody:
        content = (await anybody.get(image["url"])).content
    assert hashlib.sha256(content).hexdigest() == image["sha256"]
    assert waiting(hooked) == []
    with pytest.raises(WebhookVerificationError):
        told(receiver, (await subscribe(f"{receiver.url}/other"))["secret"])


async def test_each_subscription_is_told_of_the_ends_it_asked_for(
    hooked: App, receiver: Receiver, other: Receiver
) -> None:
    everything = await subscribe(receiver.url)
    failures = await subscribe(other.url, statuses=["failed", "canceled"])
    good = await hooked.run()
    bad = await hooked.run(prompt="a lamp [[moderation_blocked]]")
    canceled = await hooked.submit()
    await call(jobs.cancel_job, method="DELETE", path_params={"id": canceled})
    await messages.job_of(b'{"prompt": "a boat", "size": "huge"}', "a message")
    await first_tries()

    ends = {(good.id, "succeeded"), (bad.id, "failed"), (canceled, "canceled")}
    heard = {(one["data"]["id"], one["data"]["status"]) for one in told(receiver, everything["secret"])}
    assert ends < heard
    assert len(heard) == 4, "a message that was refused ends as a failed job, and is told too"
    assert {(one["data"]["id"], one["data"]["status"]) for one in told(other, failures["secret"])} == {
        pair for pair in heard if pair[1] != "succeeded"
    }


async def test_who_ends_its_subscription_hears_no_more_not_even_what_was_waiting(
    hooked: App, receiver: Receiver
) -> None:
    made = await subscribe(receiver.url)
    receiver.answers = [answer(500)]
    await hooked.run()
    await first_tries()
    assert len(waiting(hooked)) == 1
    await end(made["id"])
    await hooked.run()
    await next_round()

    assert len(receiver.requests) == 1
    assert waiting(hooked) == []


async def test_a_job_that_ended_before_is_not_told(hooked: App, receiver: Receiver) -> None:
    job = await hooked.run()
    await subscribe(receiver.url)
    room = await rooms()

    assert await room.subscriptions.for_end(job) == []
    later = dataclasses.replace(job, finished_at=datetime.now(UTC) + timedelta(seconds=1))
    assert len(await room.subscriptions.for_end(later)) == 1


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_what_was_not_taken_comes_again_under_the_same_id_until_it_is(
    hooked: App, receiver: Receiver, status: int
) -> None:
    made = await subscribe(f"{receiver.url}/hook")
    receiver.answers = [answer(status, b"", location=f"{receiver.url}/elsewhere")] * 2
    job = await hooked.run()
    await first_tries()
    assert body(await read(made["id"]))["failing_since"] is not None
    await next_round()
    assert len(waiting(hooked)) == 1
    await next_round()
    await next_round()

    assert waiting(hooked) == []
    assert [(heard.target, heard.headers["webhook-id"]) for heard in receiver.requests] == [
        ("/hook", f"{job.id}/succeeded")
    ] * 3
    assert len(told(receiver, made["secret"])) == 3
    assert body(await read(made["id"]))["failing_since"] is None


async def test_a_receiver_that_says_it_is_gone_is_dropped(
    hooked: App, receiver: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    gone, stays = await subscribe(f"{receiver.url}/?sig=s3cret"), await subscribe(other.url)
    receiver.answers = [answer(410)]
    await hooked.run()
    await first_tries()
    await hooked.run()
    await first_tries()

    assert [one["id"] for one in await listed()] == [stays["id"]]
    assert (len(receiver.requests), len(other.requests)) == (1, 2)
    assert waiting(hooked) == []
    assert f"subscription {gone['id']} is dropped: its receiver says that it is gone (410)" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_receiver_that_took_nothing_for_a_day_is_dropped_after_its_retries(
    hooked: App, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = await subscribe(receiver.url)
    receiver.answers = [answer(500)] * 4
    job = await hooked.run()
    await first_tries()
    await next_round()
    assert [one["id"] for one in await listed()] == [made["id"]], "it is given its day"

    room, now = await rooms(), datetime.now(UTC)
    (entry,) = [one for one in await room.outbox.due_deliveries() if one.job_id == job.id]
    old = dataclasses.replace(job, finished_at=now - timedelta(hours=25))
    with pytest.raises(UndeliverableError, match="status 500, and the job's end is a day old"):
        await deliveries.deliver(room, entry, old)
    assert [one["id"] for one in await listed()] == [made["id"]], "something was taken meanwhile"

    await failing_since(hooked, made["id"], now - timedelta(hours=24))
    with pytest.raises(UndeliverableError, match=f"{made['id']} is dropped: nothing was taken for a day; it is answer"):
        await deliveries.deliver(room, entry, old)
    assert await listed() == []
    await next_round()
    assert waiting(hooked) == []
    assert "the subscription is no longer there" in caplog.text
    assert len(receiver.requests) == 4


async def test_a_late_delivery_that_is_taken_keeps_the_subscription(hooked: App, receiver: Receiver) -> None:
    made = await subscribe(receiver.url)
    receiver.answers = [answer(500)]
    job = await hooked.run()
    await first_tries()
    await failing_since(hooked, made["id"], datetime.now(UTC) - timedelta(hours=30))
    await next_round()

    assert body(await read(made["id"]))["failing_since"] is None
    assert [one["data"]["id"] for one in told(receiver, made["secret"])] == [job.id, job.id]


async def test_what_was_taken_is_not_told_again_because_that_could_not_be_noted(
    hooked: App, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribe(receiver.url)
    receiver.answers = [answer(500)]
    await hooked.run()
    await first_tries()

    async def no_answer(*_: object) -> None:
        raise rows.storage_unavailable("HTTP 503")

    with monkeypatch.context() as failing:
        failing.setattr(SubscriptionStore, "took", no_answer)
        await next_round()
    await next_round()

    assert (len(receiver.requests), waiting(hooked)) == (2, [])


async def test_a_purged_job_is_told_to_nobody(hooked: App, receiver: Receiver) -> None:
    await subscribe(receiver.url)
    receiver.answers = [answer(500)]
    job = await hooked.run()
    await first_tries()
    await call(jobs.cancel_job, method="DELETE", path_params={"id": job.id}, query={"purge": "true"})
    await next_round()

    assert len(receiver.requests) == 1
    assert waiting(hooked) == []


async def test_subscriptions_are_told_once_whatever_becomes_of_the_event(
    hooked: App, receiver: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribe(receiver.url)
    await subscribe(other.url)
    other.answers = [answer(500)]
    job = await hooked.run()  # no topic is configured here: the event is not taken, and comes again each round
    for _ in range(3):
        await first_tries()
        await next_round()

    assert [heard.headers["webhook-id"] for heard in receiver.requests] == [f"{job.id}/succeeded"]
    assert len(other.requests) == 2
    assert sum("the event of" in record.getMessage() for record in caplog.records) == 4
    (event,) = [row for row in hooked.storage.rows("jobs") if row["RowKey"].startswith("o:")]
    assert (event["tries"], bool(event["told"])) == (3, True)


async def test_a_runner_that_died_before_anybody_was_told_leaves_it_to_the_timer(
    hooked: App, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await subscribe(receiver.url)

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr(announce, "first_tries", die)
        job_id = await hooked.submit()
        with pytest.raises(asyncio.CancelledError):
            await hooked.deliver(job_id)
    assert receiver.requests == []
    await next_round()
    await first_tries()

    assert [one["data"]["id"] for one in told(receiver, made["secret"])] == [job_id]


async def test_a_receiver_that_fails_is_asked_once_a_round_and_keeps_nobody_waiting(
    hooked: App, receiver: Receiver, other: Receiver
) -> None:
    await subscribe(receiver.url)
    await subscribe(other.url)
    receiver.answers = [answer(500)] * 5
    other.answers = [answer(500)] * 3
    for _ in range(3):
        await hooked.run()
        await first_tries()
    assert (len(receiver.requests), len(other.requests), len(waiting(hooked))) == (3, 3, 6)

    await next_round()
    assert (len(receiver.requests), len(other.requests)) == (4, 6)
    assert len(waiting(hooked)) == 3
    await next_round()
    await next_round()
    assert (len(receiver.requests), len(waiting(hooked))) == (8, 0)


async def test_a_receiver_that_is_slow_holds_up_neither_the_job_nor_another_receiver(
    hooked: App, receiver: Receiver, other: Receiver
) -> None:
    answered = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.write(answer(200))

    receiver.answers = [slow]
    await subscribe(receiver.url)
    await subscribe(other.url)
    job = await hooked.run()
    await eventually(lambda: receiver.requests and len(waiting(hooked)) == 1, what="the quick delivery")

    assert (job.status, len(other.requests)) == ("succeeded", 1)
    answered.set()
    await first_tries()
    assert waiting(hooked) == []


async def test_a_host_that_leads_to_a_private_address_since_or_is_no_longer_allowed_is_not_called(
    app: App, configure: Configure, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["93.184.215.14"]

    async def look_up(host: str, port: int) -> list[str]:
        return addresses

    monkeypatch.setattr(outbound, "look_up", look_up)
    configure([deployment(app.model.url)], CALLBACK_HOSTS="example.com")
    await subscribe("https://hooks.example.com/")
    addresses[:] = ["127.0.0.1"]
    await app.run()
    await first_tries()
    configure([deployment(app.model.url)], CALLBACK_HOSTS="example.org")
    addresses[:] = ["93.184.215.14"]
    await app.run()
    await first_tries()

    assert receiver.connections == 0
    assert len(waiting(app)) == 2


async def test_no_log_line_of_a_delivery_holds_the_query_the_secret_or_a_prompt(
    hooked: App, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [answer(500, b"s3cret"), b"s3cret\r\n\r\n", answer(410)]
    made = await subscribe(f"{receiver.url}/?sig=s3cret")
    await hooked.run(prompt="a tangerine lamp")
    await first_tries()
    await next_round()
    await next_round()

    said = [record.getMessage() for record in caplog.records if record.name == "darkroom"]
    assert any(made["id"] in line and "is answered with status 500" in line for line in said)
    assert any("is not answered in whole" in line for line in said)
    assert not any(word in caplog.text for word in ("s3cret", "tangerine", "whsec_", made["secret"][6:]))


async def test_a_principal_is_told_of_its_own_jobs_and_who_sees_all_of_everybodys(
    hooked: App, certificates: Certificates
) -> None:
    callers = [Caller("alice", sees_all=False), Caller("bob", sees_all=False), Caller("root", sees_all=True)]
    async with receiving(certificates) as alice, receiving(certificates) as bob, receiving(certificates) as root:
        receivers = (alice, bob, root)
        for caller, receiver in zip(callers, receivers, strict=True):
            await subscriptions.subscribe({"url": receiver.url}, caller)
        ids = {}
        for caller in callers[:2]:
            intake = await accept.intake()
            accepted = await accept.understand(intake, caller, {"prompt": "p", "quality": "low"}, kind=None)
            ids[caller.owner] = (await accept.submit(intake, accepted, caller)).job.id
            await hooked.deliver(ids[caller.owner])
        await first_tries()
        heard = [{json.loads(one.body)["data"]["id"] for one in receiver.requests} for receiver in receivers]

    assert heard == [{ids["alice"]}, {ids["bob"]}, set(ids.values())]
