"""Cancelling a job in each of its states."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from functions import jobs
from shared.jobs.job import Job
from shared.jobs.pacing import Slot
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import App
from tests.support.doors import call
from tests.support.waiting import eventually


async def cancel(job_id: str, status: int = 200) -> dict[str, Any]:
    answer = await call(jobs.cancel_job, method="DELETE", path_params={"id": job_id})
    assert answer.status_code == status
    body: dict[str, Any] = json.loads(bytes(answer.body))
    return body


async def test_a_queued_job_ends_at_once_and_is_never_called(app: App) -> None:
    job_id = await app.submit()
    document = await cancel(job_id)
    await app.deliver(job_id)

    assert (document["status"], document["error"], document["attempts"]) == ("canceled", None, 0)
    assert app.model.calls() == []
    assert [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("o:")], "its end is announced"


async def test_a_running_job_that_waits_for_its_turn_stops_before_the_call(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = (await rooms()).pacer
    take_turn = pacer.take_turn
    job_id = await app.submit()
    asked: list[dict[str, Any]] = []

    async def canceled_meanwhile(slot: Slot) -> bool:
        asked.append(await cancel(job_id))
        return await take_turn(slot)

    monkeypatch.setattr(pacer, "take_turn", canceled_meanwhile)
    job = await app.deliver(job_id)

    assert {(document["status"], document["phase"]) for document in asked} == {("running", "waiting")}
    assert (job.status, job.attempts) == ("canceled", 0)
    assert app.model.calls() == app.storage.ledger(job_id) == []


async def test_a_job_whose_call_was_sent_ends_as_canceled_with_its_image_and_cost(app: App) -> None:
    app.model.behave(latency_seconds=1.0)
    job_id = await app.submit()
    running = asyncio.create_task(app.deliver(job_id))
    await eventually(app.model.calls, what="the call")
    asked = await cancel(job_id)
    job: Job = await running
    document = await app.document(job_id)

    assert asked["status"] == "running"
    assert (job.status, len(document["images"])) == ("canceled", 1)
    assert float(document["cost"]["amount"]) > 0
    assert app.storage.outcomes(job_id) == ["billed"]


@pytest.mark.parametrize("again", [False, True])
async def test_a_job_that_has_ended_is_a_409_and_stays_as_it_is(app: App, again: bool) -> None:
    job_id = await app.submit()
    if again:
        await cancel(job_id)
    else:
        await app.deliver(job_id)
    before = await app.job(job_id)
    error = (await cancel(job_id, 409))["error"]

    assert (error["code"], error["param"]) == ("job_ended", "id")
    assert await app.job(job_id) == before


async def test_an_unknown_job_is_a_404(app: App) -> None:
    assert (await cancel("0" * 26, 404))["error"]["code"] == "not_found"
