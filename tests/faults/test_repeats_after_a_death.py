"""The one who had a key died, somewhere between its claim and its answer: who comes with the key next takes it from
there, and nothing is lost or paid twice.

Death is an exception nothing catches, or a process that is killed; leases end by the job store's clock, put forward.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions import images, jobs
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.idempotency import Idempotency
from shared.jobs.job import Job
from shared.jobs.lease import Lease
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.pipeline import accept, takeover
from shared.pipeline.repeats import Asked
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import CALLER, TAKE_OVER_SECONDS, App
from tests.support.dying import DiedError
from tests.support.photographs import photograph
from tests.support.repeated import KEY, REQUEST, error, form, is_replayed, post, post_form, read, tried
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("ask_often")


async def die(*_: Any, **__: Any) -> Any:
    raise DiedError


async def begun(asked: Asked) -> Job:
    """A job as the synchronous door begins it, and then does nothing with it."""
    intake = await accept.intake()
    accepted = await accept.understand(intake, CALLER, REQUEST, kind="generate")
    return (await accept.begin(intake, accepted, CALLER, asked)).job


async def put_clock_forward(seconds: float) -> None:
    """Like `App.put_clock_forward`, seen by those who wait already, too."""
    (await rooms()).store.clock = lambda: datetime.now(UTC) + timedelta(seconds=seconds)


async def dies_at(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, request: Callable[[], Any]) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, name, die)
        with pytest.raises(DiedError):
            await request()


@pytest.mark.parametrize("place", [(JobFiles, "put_request"), (JobStore, "create")], ids=["before", "after"])
@pytest.mark.parametrize("headers", [[KEY, KEY], [tried(0), tried(1)]], ids=["key", "count"])
async def test_between_its_claim_and_its_row_the_next_one_makes_the_job_that_was_claimed(
    app: App, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str], headers: list[dict[str, str]]
) -> None:
    await dies_at(monkeypatch, *place, lambda: post(images.image_generations_v1, headers[0]))
    [row] = app.storage.rows("idempotency")
    second, third = [await post(images.image_generations_v1, headers[1]) for _ in range(2)]

    assert second.headers["x-darkroom-job"] == row["job_id"]
    assert [is_replayed(answer) for answer in (second, third)] == [False, True]
    assert await read(second) == await read(third)
    assert len(app.model.calls()) == 1
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == {row["job_id"]}
    assert (await app.job(row["job_id"])).idempotency == row["RowKey"]


@pytest.mark.parametrize("lost", [(), ("source-0", "mask")], ids=["there", "lost"])
async def test_the_sources_of_the_job_that_was_claimed_are_there_for_who_makes_it(
    app: App, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    sent = form(photograph(), photograph(shade=90))
    await dies_at(monkeypatch, JobStore, "create", lambda: post_form(images.image_edits_v1, sent))
    [row] = app.storage.rows("idempotency")
    for name in lost:
        app.storage.delete(f"requests/{row['job_id']}/{name}")
    answer = await post_form(images.image_edits_v1, sent)

    assert (await read(answer))["data"]
    assert answer.headers["x-darkroom-job"] == row["job_id"]
    await app.ended(row["job_id"])
    assert app.storage.requests_of(row["job_id"]) == ["mask", "request.json", "result.json", "source-0", "source-1"]
    assert app.storage.read(f"requests/{row['job_id']}/source-0") == photograph()
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == {row["job_id"]}
    assert len(app.model.calls()) == 1


async def test_one_who_was_only_slow_joins_the_job_that_was_made_in_its_stead(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = JobStore.create
    goes_on = asyncio.Event()
    stopped: list[str] = []

    async def stop(self: JobStore, job: Job) -> Job:
        if not stopped:
            stopped.append(job.id)
            await goes_on.wait()
        return await create(self, job)

    monkeypatch.setattr(JobStore, "create", stop)
    slow = asyncio.create_task(post(images.image_generations_v1))
    await eventually(lambda: stopped, what="the claim of the slow one")
    quick = await post(images.image_generations_v1)
    goes_on.set()

    assert await read(quick) == await read(await slow)
    assert [is_replayed(answer) for answer in (quick, await slow)] == [False, True]
    assert quick.headers["x-darkroom-job"] == stopped[0]
    assert len(app.model.calls()) == 1


async def test_before_its_message_was_sent_the_job_is_joined_and_run_by_the_timers_message(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dies_at(monkeypatch, JobQueue, "submit", lambda: post(jobs.submit_job))
    second = await post(jobs.submit_job)
    document = await read(second, 202)

    assert is_replayed(second)
    assert (await app.deliver(document["id"])).status == "succeeded"
    assert len(app.model.calls()) == 1


async def test_storage_that_fails_after_the_claim_costs_the_sources_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer of the claim is lost, and the request ends with an error: a repeat may be at work in its folder."""
    claim_row = Idempotency.claim_row

    async def lose(self: Idempotency, *arguments: Any) -> Any:
        await claim_row(self, *arguments)
        raise DarkroomError("storage_unavailable", "away")

    sent = form(photograph())
    with monkeypatch.context() as patch:
        patch.setattr(Idempotency, "claim_row", lose)
        assert error(await post_form(images.image_edits_v1, sent)) == (503, "storage_unavailable")
    [row] = app.storage.rows("idempotency")
    assert app.storage.requests_of(row["job_id"]) == ["mask", "source-0"]
    answer = await post_form(images.image_edits_v1, sent)

    assert answer.headers["x-darkroom-job"] == row["job_id"]
    assert (await read(answer))["data"]


async def test_before_its_call_who_waits_for_it_ends_it_and_the_next_try_runs(app: App) -> None:
    job = await begun(Asked(retry=0))
    await put_clock_forward(TAKE_OVER_SECONDS)
    second = await post(images.image_generations_v1, tried(1))
    await put_clock_forward(0)
    third = await post(images.image_generations_v1, tried(2))

    assert error(second) == (503, "abandoned")
    assert "x-should-retry" not in second.headers, "the client is to try again"
    assert (second.headers["x-darkroom-job"], is_replayed(second)) == (job.id, True)
    assert (await read(third))["data"]
    assert not is_replayed(third)
    assert len(app.model.calls()) == 1


@pytest.mark.parametrize(("asked", "headers"), [(Asked("order-1017"), KEY), (Asked(retry=0), tried(1))])
async def test_in_its_call_who_waits_for_it_learns_that_the_outcome_is_unknown_and_nothing_is_paid_twice(
    app: App, asked: Asked, headers: dict[str, str]
) -> None:
    app.model.fail({"hang_seconds": 60})
    job = await begun(asked)
    async with app.killed_during_a_call(job.id, "run_now"):
        early = asyncio.gather(*(post(images.image_generations_v1, headers) for _ in range(3)))
        await asyncio.wait({early}, timeout=0.2)
        assert not early.done(), "its lease may live"
    await put_clock_forward(TAKE_OVER_SECONDS)

    for answer in (*await early, await post(images.image_generations_v1, headers)):
        assert error(answer) == (502, "outcome_unknown")
        assert (answer.headers["x-should-retry"], answer.headers["x-darkroom-job"]) == ("false", job.id)
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(job.id) == ["unknown"]
    told = [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("o:")]
    assert len(told) == 1, "many waited, and one of them ended the job"


async def test_storage_that_hiccups_while_somebody_waits_is_asked_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await begun(Asked("order-1017"))
    await put_clock_forward(TAKE_OVER_SECONDS)
    settle = takeover.settle
    failures = [DarkroomError("storage_unavailable", "away")]

    async def hiccup(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await settle(*arguments)

    monkeypatch.setattr(takeover, "settle", hiccup)
    monkeypatch.setattr(Lease, "safe", lambda _: False)  # the first who settles cannot give the job back, either
    waiter = asyncio.create_task(post(images.image_generations_v1))
    await eventually(lambda: not failures, what="the failure of the first who settles")
    await put_clock_forward(3 * TAKE_OVER_SECONDS)
    answer = await waiter

    assert error(answer) == (503, "abandoned")
    assert answer.headers["x-darkroom-job"] == job.id
    assert app.model.calls() == []
