"""The rows of a batch: made into jobs step by step, canceled as a whole, found when nobody works at it."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import DarkroomError
from shared.jobs.batch import Batch, BatchStatus, document
from shared.jobs.batches import BatchStore, batch_of, stillborn
from shared.jobs.job import Status, new_id
from shared.jobs.outbox import Outbox, What
from shared.jobs.store import JobStore

REFUSED = DarkroomError("source_not_readable", "no such blob", param="image")


@pytest.fixture
def table(tables):
    return tables("jobs")


@pytest.fixture
def store(table, clock):
    return BatchStore(table, clock=clock)


@pytest.fixture
def jobs(table, clock):
    return JobStore(table, clock=clock)


@pytest.fixture
def make_batch(store, clock):
    async def make(total=3, **given):
        fields = {"id": new_id(clock()), "owner": "key", "created_at": clock(), "total": total, **given}
        return await store.create(Batch(**fields))

    return make


async def made(store, make_job, batch, number, *, refused=0):
    """The batch with `number` of its requests jobs, the first `refused` of them failed; and these jobs."""
    work = await store.take(batch.id, "r")
    jobs = [make_job(batch=batch.id, callback=place == 0) for place in range(number)]
    await store.claim(batch.id, work.made, [job.id for job in jobs])
    jobs = [stillborn(job, REFUSED, store.clock()) if place < refused else job for place, job in enumerate(jobs)]
    work, entries = await store.make(work, jobs, due=store.clock())
    return work, jobs, entries


async def told(table, clock):
    return [(entry.job_id, entry.what) for entry in await Outbox(table, clock=clock).due()]


async def test_a_batch_is_read_as_it_was_written(store, jobs, make_batch):
    batch = await make_batch(
        owner="Ünï/cödé#?", idempotency="row", request_hash="h", sees_all=True, metadata={"ключ": "значение"}
    )
    found = await jobs.batch(batch.id)

    assert (found.owner, found.sees_all, found.metadata) == ("Ünï/cödé#?", True, {"ключ": "значение"})
    assert (found.idempotency, found.request_hash, found.created_at) == ("row", "h", batch.created_at)


async def test_a_batch_written_twice_is_the_first(store, make_batch, clock):
    first = await make_batch()
    clock.advance(5)
    again = await store.create(Batch(id=first.id, owner="key", created_at=clock(), total=3))

    assert again.created_at == first.created_at


async def test_one_runner_has_the_work_until_it_ends_or_dies(store, make_batch, clock):
    batch = await make_batch()
    work = await store.take(batch.id, "r")
    assert await store.take(batch.id, "other") is None

    await store.release(work)
    assert (await store.take(batch.id, "other")).runner == "other"
    clock.advance(74)
    assert await store.take(batch.id, "third") is None
    clock.advance(1)
    assert (await store.take(batch.id, "third")).runner == "third"
    with pytest.raises(DarkroomError, match="Another runner"):
        await store.renew(work)


async def test_ids_that_were_claimed_stay_who_ever_claims_them_again(store, make_batch, clock):
    batch = await make_batch(total=5)
    ids = [new_id(clock()) for _ in range(5)]
    first = await store.claim(batch.id, 0, ids[:3])
    again = await store.claim(batch.id, 0, [new_id(clock()) for _ in range(5)])

    assert (first, again) == (ids[:3], ids[:3])
    assert await store.children(batch.id) == dict(enumerate(ids[:3]))


async def test_jobs_are_there_with_how_far_the_batch_is(store, jobs, make_batch, make_job, table, clock):
    batch = await make_batch()
    work, [failed, queued], entries = await made(store, make_job, batch, 2, refused=1)

    assert work.made == 2
    assert [entry.what for entry in entries] == [What.EVENT, What.CALLBACK]
    assert await told(table, clock) == [(failed.id, What.EVENT), (failed.id, What.CALLBACK)]
    found = await jobs.get(failed.id)
    assert (found.status, found.error["code"], found.wake_at) == (Status.FAILED, "source_not_readable", None)
    assert [job.id async for job in jobs.live()] == [queued.id]
    assert (await jobs.batch(batch.id)).failed == 1


async def test_a_batch_whose_requests_are_all_refused_is_finished_by_the_last(
    store, jobs, make_batch, make_job, table, clock
):
    batch = await make_batch(total=2)
    _, _, entries = await made(store, make_job, batch, 2, refused=2)

    assert (await jobs.batch(batch.id)).status is BatchStatus.COMPLETED
    assert [entry.what for entry in entries].count(What.BATCH) == 1
    assert (batch.id, What.BATCH) in await told(table, clock)


async def test_of_jobs_that_end_at_the_same_moment_one_finishes_the_batch(
    store, jobs, make_batch, make_job, table, clock
):
    batch = await make_batch(total=8)
    _, children, _ = await made(store, make_job, batch, 8)
    claimed = [(await jobs.claim(job.id, f"runner {job.id}")).job for job in children]
    ends = await asyncio.gather(*(jobs.finish(job, Status.SUCCEEDED) for job in claimed))
    finished = await jobs.batch(batch.id)

    assert (finished.succeeded, finished.status) == (8, BatchStatus.COMPLETED)
    assert [entry.what for _, entries in ends for entry in entries].count(What.BATCH) == 1
    assert [what for _, what in await told(table, clock)].count(What.BATCH) == 1


async def test_after_a_cancel_no_job_is_made_and_the_rest_is_counted(store, jobs, make_batch, make_job):
    batch = await make_batch(total=5)
    work, _, _ = await made(store, make_job, batch, 2)
    canceled, entries = await store.cancel(batch.id, due=store.clock())
    after, _ = await store.make(work, [make_job(batch=batch.id)], due=store.clock())

    assert (canceled.canceled, canceled.status, entries) == (3, BatchStatus.RUNNING, ())
    assert (after.made, after.canceling) == (2, True)
    assert len([job async for job in jobs.live()]) == 2


async def test_a_batch_canceled_before_any_job_is_finished_at_once_and_told(store, make_batch, table, clock):
    batch = await make_batch()
    canceled, entries = await store.cancel(batch.id, due=clock())

    assert (canceled.canceled, canceled.status) == (3, BatchStatus.COMPLETED)
    assert [entry.what for entry in entries] == [What.BATCH]
    assert await told(table, clock) == [(batch.id, What.BATCH)]
    with pytest.raises(DarkroomError) as refused:
        await store.cancel(batch.id, due=clock())
    assert (refused.value.code, refused.value.status) == ("batch_ended", 409)


async def test_a_cancel_asked_for_twice_counts_once(store, make_batch, make_job):
    batch = await make_batch()
    await made(store, make_job, batch, 1)
    first, _ = await store.cancel(batch.id, due=store.clock())
    again, entries = await store.cancel(batch.id, due=store.clock())

    assert (first.canceled, again.canceled, entries) == (2, 2, ())


async def test_a_cancel_between_the_last_job_and_the_end_of_the_work_is_seen(store, make_batch, make_job):
    batch = await make_batch(total=1)
    work, _, _ = await made(store, make_job, batch, 1)
    await store.cancel(batch.id, due=store.clock())
    left = await store.done(work)

    assert (left.canceling, left.made) == (True, 1)
    assert await store.done(left) is None
    assert await store.take(batch.id, "other") is None


async def test_a_cancel_after_all_jobs_were_made_is_work_again(store, make_batch, make_job):
    batch = await make_batch(total=1)
    work, _, _ = await made(store, make_job, batch, 1)
    assert await store.done(work) is None
    canceled, _ = await store.cancel(batch.id, due=store.clock())
    work = await store.take(batch.id, "r")

    assert (canceled.canceled, canceled.cancel_requested) == (0, True)
    assert (work.canceling, work.made) == (True, 1)


async def test_a_batch_nobody_works_at_is_found_once_in_two_minutes(store, make_batch, clock):
    waiting, running = [(await make_batch()).id for _ in range(2)]
    await store.take(running, "r")
    found = []
    for _ in range(5):
        found.append({batch_id async for batch_id in store.overdue()})
        clock.advance(60)

    assert found == [set(), set(), {waiting, running}, set(), {waiting, running}]


async def test_a_batch_that_does_not_exist_has_no_work_and_no_cancel(store, clock):
    unknown = new_id(clock())
    assert await store.take(unknown, "r") is None
    with pytest.raises(DarkroomError) as refused:
        await store.cancel(unknown, due=clock())
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("lost", range(1, 3))
async def test_a_cancel_whose_answer_was_lost_is_done_once(memory, clock, lost):
    store = BatchStore(memory, clock=clock)
    batch = await store.create(Batch(id=new_id(clock()), owner="key", created_at=clock(), total=3, folder="f"))
    memory.lose_answers = lost
    canceled, _ = await store.cancel(batch.id, due=clock())

    assert (canceled.canceled, canceled.cancel_requested) == (3, True)
    assert len([key for _, key in memory.rows if key.startswith("o:")]) == 1


async def test_jobs_whose_writing_was_not_answered_are_made_once(memory, clock, make_job):
    store = BatchStore(memory, clock=clock)
    batch = await store.create(Batch(id=new_id(clock()), owner="key", created_at=clock(), total=3, folder="f"))
    memory.lose_answers = 1
    work, children, entries = await made(store, make_job, batch, 3, refused=1)

    assert (work.made, len(entries)) == (3, 2)
    assert (await JobStore(memory, clock=clock).batch(batch.id)).failed == 1
    assert len([key for _, key in memory.rows if key.startswith("j:")]) == len(children)


def test_the_document_counts_what_is_pending(clock):
    batch = Batch(id="b", owner="key", created_at=clock(), total=9, succeeded=2, failed=1, canceled=1)
    shown = document(batch, api="https://app/api")

    assert shown["counts"] == {"total": 9, "pending": 5, "succeeded": 2, "failed": 1, "canceled": 1}
    assert (shown["status"], shown["finished_at"]) == ("running", None)
    assert shown["links"]["jobs"] == "https://app/api/jobs?batch=b"


@pytest.mark.parametrize("message", [{}, {"batch_id": 7}, {"batch_id": "../x"}, {"job_id": "0" * 26}])
def test_a_message_of_anybody_elses_names_no_batch(message):
    assert batch_of(message) is None
