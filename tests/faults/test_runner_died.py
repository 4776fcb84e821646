"""Verdict "the runner died after call_started_at": a real process, killed while the model works on its call.

The wait until another may take over (75 s) is spared by a job store whose clock is put forward.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.jobs.job import Status
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger
from shared.pipeline import recover
from shared.platform import clients
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.waiting import eventually

Configure = Callable[..., None]


async def kill_during_call(app: App, how: str) -> str:
    """The id of a job whose runner was killed in its call; the server works on as if nothing had happened."""
    app.model.fail({"hang_seconds": 60})
    job_id = await app.submit() if how == "deliver" else (await app.begin()).id
    async with app.killed_during_a_call(job_id, how):
        job = await app.job(job_id)
        assert (job.status, job.phase, job.attempts) == ("running", "calling", 1)
        assert app.storage.outcomes(job_id) == ["started"]
    return job_id


async def test_a_queued_job_is_called_once_more_and_the_first_call_stays_unknown(app: App) -> None:
    job_id = await kill_during_call(app, "deliver")
    assert (await app.deliver(job_id)).status == "running", "taken over while its lease may live"
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    assert (job.status, job.attempt, job.attempts) == ("succeeded", 2, 2)
    assert len(app.model.calls()) == 2
    first, second = app.storage.ledger(job_id)
    assert (first["outcome"], first["error_code"], second["outcome"]) == ("unknown", "runner_died", "billed")
    assert Decimal(first["possibly_billed"]) > 0
    assert (await app.document(job_id))["cost"]["possibly_billed"] == str(Decimal(first["possibly_billed"]).normalize())
    assert app.storage.results_of(job_id) == ["0.2.json", "0.2.png"]


async def test_there_is_no_third_call_after_a_second_death(app: App) -> None:
    job_id = await kill_during_call(app, "deliver")
    app.model.fail({"hang_seconds": 60})
    async with app.killed_during_a_call(job_id, "deliver", clock_ahead=TAKE_OVER_SECONDS):
        assert app.storage.outcomes(job_id) == ["unknown", "started"]
    await app.put_clock_forward(3 * TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    assert (job.status, job.attempts) == ("failed", 2)
    assert app.storage.outcomes(job_id) == ["unknown", "unknown"]
    assert len(app.model.calls()) == 2


async def test_a_runner_killed_before_its_call_costs_nothing(app: App) -> None:
    app.model.fail({"name": "rate_limited", "retry_after_seconds": 8})
    job_id = await app.submit()
    process = app.start_runner(job_id, "deliver")
    try:
        await eventually(lambda: app.storage.outcomes(job_id) == ["refused"], what="the refused call")
        await eventually(lambda: _waits(app, job_id), what="the wait for the next slot")
    finally:
        process.kill()
        process.wait(10)
    app.storage.forget_pacing()
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    assert (job.status, job.attempts) == ("succeeded", 1)
    assert app.storage.outcomes(job_id) == ["refused", "billed"]


async def _waits(app: App, job_id: str) -> bool:
    job = await app.job(job_id)
    return job.status is Status.RUNNING and job.call_started_at is None


@pytest.mark.parametrize("where", [(Ledger, "settle"), (Lease, "finish")], ids=["before the ledger", "before the end"])
async def test_what_is_stored_already_is_not_paid_for_again(
    app: App, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str]
) -> None:
    class Died(BaseException):
        """As if the process were gone: nothing catches it."""

    async def die(*_: Any, **__: Any) -> None:
        raise Died

    job_id = await app.submit()
    with monkeypatch.context() as patch:
        patch.setattr(*where, die)
        with pytest.raises(Died):
            await app.deliver(job_id)
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    assert job.status == "succeeded"
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(job_id) == ["billed"]
    assert app.storage.results_of(job_id) == ["0.json", "0.png"]
    assert [image["index"] for image in (await app.document(job_id))["images"]] == [0]


async def test_the_timer_sends_a_job_nobody_runs_to_the_queue_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await kill_during_call(app, "deliver")
    assert await recover.abandoned() == 0

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=TAKE_OVER_SECONDS)

    monkeypatch.setattr(recover, "datetime", Later)
    assert await recover.abandoned() == 1
    messages = clients.queues().get_queue_client("image-requests").receive_messages()
    sent = [json.loads(message.content) async for message in messages]
    assert sent == [{"job_id": job_id}] * 2, "one by the submit, one by the timer"


async def test_an_operator_who_never_pays_twice_gets_a_failed_job(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="never")
    job_id = await kill_during_call(app, "deliver")
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    await expect_unknown_end(app, job_id)


async def test_a_synchronous_job_is_never_called_again(app: App) -> None:
    job_id = await kill_during_call(app, "run_now")
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    await expect_unknown_end(app, job_id)


async def expect_unknown_end(app: App, job_id: str) -> None:
    job = await app.deliver(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["inner_error"]) == ("outcome_unknown", {"code": "runner_died"})
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(job_id) == ["unknown"]
    assert Decimal((await app.document(job_id))["cost"]["possibly_billed"]) > 0
    assert (await app.deliver(job_id)).status == "failed"
    assert len(app.model.calls()) == 1
