"""Canceling a batch before, while and after its requests become jobs: what was not called never is, and each request is
counted once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.jobs.batches import BatchQueue
from shared.jobs.store import JobStore
from shared.pipeline import announce, batch_jobs, fan_out
from shared.pipeline import batches as pipeline
from tests.support import batches
from tests.support.app_in_process import App
from tests.support.waiting import eventually


async def deliver(batch: dict[str, Any]) -> None:
    await fan_out.deliver(json.dumps({"batch_id": batch["id"]}).encode())


async def test_before_the_first_job_nothing_is_ever_made(app: App) -> None:
    batch = await batches.post(batches.requests(5))
    canceled = await batches.cancel(batch["id"])
    await deliver(batch)

    assert (canceled["status"], canceled["cancel_requested"]) == ("completed", True)
    assert canceled["counts"] == {"total": 5, "pending": 0, "succeeded": 0, "failed": 0, "canceled": 5}
    assert [batches.rows_of(app, kind) for kind in "jln"] == [[], [], []]
    assert app.storage.blobs("requests") == []
    assert batches.told(app) == [batch["id"]]


async def test_while_jobs_are_being_made_no_more_of_them_are_and_those_that_wait_end(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out, "MOST_AT_ONCE", 3)
    batch = await batches.post(batches.requests(8))
    prepare, prepared = batch_jobs.prepare, []

    async def prepare_and_cancel(*args: Any, **named: Any) -> Any:
        prepared.append(args)
        if len(prepared) == 5:  # in the second step
            await batches.cancel(batch["id"])
        return await prepare(*args, **named)

    monkeypatch.setattr(batch_jobs, "prepare", prepare_and_cancel)
    await deliver(batch)
    document = await batches.get(batch["id"])
    jobs = batches.jobs_of(app, batch["id"])
    for job_id in jobs:
        await app.deliver(job_id)

    assert document["counts"] == {"total": 8, "pending": 0, "succeeded": 0, "failed": 0, "canceled": 8}
    assert [row["status"] for row in batches.rows_of(app, "j")] == ["canceled"] * 3
    assert len(jobs) == 3
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == set(jobs), "no blob without a job"
    assert app.model.calls() == []
    assert batches.told(app) == [batch["id"]]
    assert batches.rows_of(app, "n") == []


async def test_after_all_jobs_were_made_those_that_wait_end_and_one_that_was_called_keeps_its_image(app: App) -> None:
    app.model.behave(latency_seconds=1.0)
    batch = await batches.post(batches.requests(30))
    await deliver(batch)
    first, *others = batches.jobs_of(app, batch["id"])
    running = asyncio.create_task(app.deliver(first))
    await eventually(app.model.calls, what="the call")
    asked = await batches.cancel(batch["id"])
    await deliver(batch)
    await running
    for job_id in others[:3]:
        await app.deliver(job_id)
    document = await batches.get(batch["id"])

    assert (asked["status"], asked["counts"]["pending"]) == ("running", 30)
    assert (document["status"], document["counts"]["canceled"]) == ("completed", 30)
    assert len((await app.document(first))["images"]) == 1
    assert len(app.model.calls()) == 1
    assert batches.told(app) == [batch["id"]]
    assert sorted(batches.told(app, "event")) == sorted([first, *others])


async def test_jobs_that_ended_by_themselves_stay_as_they_are(app: App) -> None:
    batch = await batches.post(batches.requests(3))
    await deliver(batch)
    first, *_ = batches.jobs_of(app, batch["id"])
    await app.deliver(first)
    await batches.cancel(batch["id"])
    await deliver(batch)

    assert (await app.job(first)).status == "succeeded"
    counts = (await batches.get(batch["id"]))["counts"]
    assert (counts["succeeded"], counts["canceled"]) == (1, 2)


async def test_asked_for_again_it_changes_nothing_and_a_completed_batch_is_a_409(app: App) -> None:
    batch = await batches.post(batches.requests(3))
    await deliver(batch)
    first = await batches.cancel(batch["id"])
    again = await batches.cancel(batch["id"])
    await deliver(batch)
    error = (await batches.cancel(batch["id"], 409))["error"]

    assert first == again
    assert (error["code"], error["param"]) == ("batch_ended", "id")


async def test_an_unknown_batch_is_a_404(app: App) -> None:
    for batch_id in ("0" * 26, "x", "../" + "0" * 23):
        assert (await batches.cancel(batch_id, 404))["error"]["code"] == "not_found"


@pytest.mark.parametrize("name", ["request_cancel", "finish"])
async def test_a_cancel_that_storage_interrupts_goes_on_when_the_message_comes_again(
    app: App, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    batch = await batches.post(batches.requests(6))
    await deliver(batch)
    await batches.cancel(batch["id"])
    method, calls = getattr(JobStore, name), []

    async def fails_later(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) > 3:
            raise DarkroomError("storage_unavailable", "Storage does not answer.")
        return await method(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, name, fails_later)
        with pytest.raises(DarkroomError):
            await deliver(batch)
    await app.put_clock_forward(76)  # a claim of the interrupted one is over
    await deliver(batch)
    for job_id in batches.jobs_of(app, batch["id"]):
        await app.deliver(job_id)

    assert (await batches.get(batch["id"]))["counts"]["canceled"] == 6
    assert batches.told(app) == [batch["id"]]
    assert app.model.calls() == []


async def test_a_cancel_whose_message_was_lost_is_found_by_the_timer(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = await batches.post(batches.requests(2))
    await deliver(batch)
    await batches.messages("image-batches")

    async def lost(*_: Any, **__: Any) -> None:
        raise DarkroomError("storage_unavailable", "Queue Storage did not take a message.")

    with monkeypatch.context() as patch:
        patch.setattr(BatchQueue, "submit", lost)
        await batches.cancel(batch["id"])
    await batches.put_clock_forward(121)
    assert await pipeline.abandoned() == 1
    [message] = await batches.messages("image-batches")
    await fan_out.deliver(json.dumps(message).encode())

    assert (await batches.get(batch["id"]))["counts"]["canceled"] == 2


async def test_a_batch_whose_event_cannot_be_sent_is_canceled_all_the_same(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await batches.post(batches.requests(2))
    await batches.cancel(batch["id"])

    assert batches.told(app) == [batch["id"]], "without a topic it waits in the outbox"
    assert await announce.send_due() == 0, "until it is due"
