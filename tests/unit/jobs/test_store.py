"""A job is accepted once, run by one runner at a time, and ended once, whatever is lost or races on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import DarkroomError
from shared.jobs.job import Phase, Status
from shared.jobs.outbox import Outbox
from shared.jobs.store import ClaimOutcome, JobStore


@pytest.fixture
def table(tables):
    return tables("jobs")


@pytest.fixture
def store(table, clock):
    return JobStore(table, clock=clock)


async def keys(table) -> list[str]:
    query = "PartitionKey eq 'jobs' and RowKey ge 'a' and RowKey lt 'z'"
    return sorted([row["RowKey"] async for row in table.query_entities(query, results_per_page=100)])


async def test_a_created_job_reads_back_as_it_was_written(store, make_job):
    job = await store.create(make_job(request_hash="h", token_hashes=("a", "b"), owner="Ünï/cödé#?", batch="b"))
    assert await store.get(job.id) == job


async def test_every_field_of_a_job_survives_its_row(store, make_job, clock):
    job = await store.create(make_job(runner="r"))
    job = await store.begin_call(job, "dep/1", "sweden")
    job = await store.update(job, phase=Phase.STORING, slot_at=clock() + timedelta(microseconds=1), error={"code": "x"})
    job = await store.request_cancel(job.id)
    assert await store.get(job.id) == job
    assert (job.calls, job.attempts, job.deployment, job.error) == (1, 1, "dep/1", {"code": "x"})


async def test_creating_a_job_twice_returns_the_first(store, make_job):
    first = await store.create(make_job(request_hash="first"))
    second = await store.create(replace(first, request_hash="second", etag=None))
    assert second == first


async def test_an_unknown_job_is_none_and_cannot_be_claimed(store, make_job):
    assert await store.get(make_job().id) is None
    assert (await store.claim(make_job().id, "r")).outcome is ClaimOutcome.UNKNOWN


async def test_the_first_claim_begins_attempt_one(store, make_job, clock):
    job = await store.create(make_job())
    clock.advance(5)
    claim = await store.claim(job.id, "r")
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert (claim.job.status, claim.job.phase, claim.job.attempt) == (Status.RUNNING, Phase.WAITING, 1)
    assert claim.job.started_at == clock()
    assert claim.job.lease_until == clock() + timedelta(seconds=60)
    assert not claim.taken_over


async def test_of_many_claimers_one_wins(store, make_job):
    job = await store.create(make_job())
    claims = await asyncio.gather(*(store.claim(job.id, f"r{number}") for number in range(8)))
    assert sorted(claim.outcome for claim in claims) == [ClaimOutcome.CLAIMED] + [ClaimOutcome.HELD] * 7


async def test_a_live_lease_is_not_taken_over_until_15_s_after_its_end(store, make_job, clock):
    job = await store.create(make_job(runner="first"))
    clock.advance(74.999)
    assert (await store.claim(job.id, "second")).outcome is ClaimOutcome.HELD
    clock.advance(0.001)
    claim = await store.claim(job.id, "second")
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert (claim.taken_over, claim.died_calling, claim.job.attempt) == (True, False, 2)


async def test_of_many_who_take_over_one_does(store, make_job, clock):
    job = await store.create(make_job(runner="dead"))
    clock.advance(80)
    claims = await asyncio.gather(*(store.claim(job.id, f"r{number}") for number in range(6)))
    assert [claim.outcome for claim in claims].count(ClaimOutcome.CLAIMED) == 1
    assert (await store.get(job.id)).attempt == 2


async def test_a_take_over_leaves_what_is_known_of_the_dead_runners_call(store, make_job, clock):
    job = await store.begin_call(await store.create(make_job(runner="dead")), "dep", "region")
    clock.advance(80)
    claim = await store.claim(job.id, "heir")
    assert claim.died_calling
    assert (claim.job.call_started_at, claim.job.deployment, claim.job.calls) == (job.call_started_at, "dep", 1)
    assert (claim.previous.attempt, claim.job.attempt, claim.job.phase) == (1, 2, Phase.WAITING)
    # A third runner still finds it: the heir may die before it has dealt with it.
    clock.advance(80)
    assert (await store.claim(job.id, "third")).died_calling


async def test_a_runner_that_was_taken_over_can_write_nothing(store, make_job, clock):
    job = await store.create(make_job(runner="slow"))
    clock.advance(80)
    await store.claim(job.id, "heir")
    for write in (
        store.update(job, phase=Phase.WAITING),
        store.begin_call(job, "dep"),
        store.give_back(job, wake_at=clock()),
        store.finish(job, Status.SUCCEEDED),
    ):
        with pytest.raises(DarkroomError) as caught:
            await write
        assert caught.value.code == "lease_lost"
    assert (await store.get(job.id)).lease_owner == "heir"


async def test_an_update_renews_the_lease(store, make_job, clock):
    job = await store.create(make_job(runner="r"))
    clock.advance(30)
    job = await store.update(job)
    assert job.lease_until == clock() + timedelta(seconds=60)


async def test_an_update_meets_a_cancel_and_a_new_token_and_undoes_neither(store, make_job):
    job = await store.create(make_job(runner="r"))
    await store.request_cancel(job.id)
    await store.add_token(job.id, "hash")
    updated = await store.update(job, deployment="dep")
    assert (updated.cancel_requested, updated.token_hashes, updated.deployment) == (True, ("hash",), "dep")
    assert await store.get(job.id) == updated


async def test_cancel_racing_with_renewals_is_never_lost(store, make_job):
    job = await store.create(make_job(runner="r"))

    async def renew(mine):
        for _ in range(5):
            mine = await store.update(mine)
        return mine

    renewed, *_ = await asyncio.gather(
        renew(job), store.request_cancel(job.id), *(store.add_token(job.id, f"t{number}") for number in range(3))
    )
    stored = await store.get(job.id)
    assert stored.cancel_requested
    assert set(stored.token_hashes) == {"t0", "t1", "t2"}
    assert stored.lease_until == renewed.lease_until


async def test_a_cancel_that_came_first_stops_the_call(store, make_job):
    job = await store.create(make_job(runner="r"))
    await store.request_cancel(job.id)
    with pytest.raises(DarkroomError) as caught:
        await store.begin_call(job, "dep")
    assert caught.value.code == "canceled"
    assert (await store.get(job.id)).call_started_at is None


async def test_a_runner_may_not_change_what_is_not_its_own(store, make_job):
    job = await store.create(make_job(runner="r"))
    with pytest.raises(ValueError, match="cancel_requested, id"):
        await store.update(job, id="x", cancel_requested=False)


async def test_a_refused_call_is_numbered_but_not_counted(store, make_job):
    job = await store.begin_call(await store.create(make_job(runner="r")), "dep")
    job = await store.uncount_call(job)
    assert (job.calls, job.attempts, job.call_started_at, job.phase) == (1, 0, None, Phase.WAITING)
    job = await store.begin_call(job, "other")
    assert (job.calls, job.attempts, job.deployment) == (2, 1, "other")


async def test_a_job_given_back_waits_for_any_runner_with_its_slot(store, make_job, clock):
    job = await store.create(make_job(runner="r"))
    slot_at = clock() + timedelta(seconds=40)
    given = await store.give_back(job, wake_at=slot_at, slot_at=slot_at, deployment="dep")
    assert (given.status, given.phase, given.lease_owner, given.lease_until) == (
        Status.QUEUED,
        Phase.WAITING,
        None,
        None,
    )
    claim = await store.claim(job.id, "other")
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert (claim.job.attempt, claim.job.slot_at, claim.job.deployment) == (1, slot_at, "dep")
    assert claim.job.started_at == job.started_at
    assert claim.job.wake_at is None


async def test_a_call_uses_up_the_slot_it_was_given_back_with(store, make_job, clock):
    job = await store.create(make_job(runner="r"))
    await store.give_back(job, wake_at=clock(), slot_at=clock(), deployment="dep")
    claim = await store.claim(job.id, "other")
    assert (await store.begin_call(claim.job, "dep")).slot_at is None


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
async def test_the_end_of_a_job_takes_its_live_row_and_leaves_one_announcement(store, table, make_job, clock, status):
    job = await store.create(make_job(runner="r"))
    assert await keys(table) == [f"j:{job.id}", f"l:{job.id}"]
    clock.advance(3)
    ended, (entry,) = await store.finish(job, status, error={"code": "x"} if status is Status.FAILED else None)
    assert await keys(table) == [f"j:{job.id}", entry.key]
    assert await store.get(job.id) == ended
    assert (ended.status, ended.finished_at, ended.phase, ended.lease_until) == (status, clock(), None, None)
    assert await Outbox(table, clock=clock).due() == [entry]


async def test_of_many_ends_one_counts(store, table, make_job):
    job = await store.create(make_job(runner="r"))
    ends = await asyncio.gather(
        *(store.finish(job, status) for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)),
        return_exceptions=True,
    )
    assert sorted(end.code if isinstance(end, DarkroomError) else "ended" for end in ends) == [
        "ended",
        "job_ended",
        "job_ended",
    ]
    announced = [key for key in await keys(table) if key.startswith("o:")]
    assert len(announced) == 1


async def test_an_end_after_the_lease_ran_out_counts_while_nobody_took_over(store, make_job, clock):
    job = await store.create(make_job(runner="r"))
    clock.advance(1000)
    ended, _ = await store.finish(job, Status.SUCCEEDED)
    assert ended.status is Status.SUCCEEDED
    assert (await store.claim(job.id, "late")).outcome is ClaimOutcome.ENDED


async def test_an_ended_job_takes_no_cancel_but_a_poll_token(store, make_job):
    job, _ = await store.finish(await store.create(make_job(runner="r")), Status.SUCCEEDED)
    with pytest.raises(DarkroomError) as caught:
        await store.request_cancel(job.id)
    assert caught.value.code == "job_ended"
    assert (await store.add_token(job.id, "hash")).token_hashes == ("hash",)


async def test_cancel_and_token_of_an_unknown_job_are_not_found(store, make_job):
    for write in (store.request_cancel(make_job().id), store.add_token(make_job().id, "hash")):
        with pytest.raises(DarkroomError) as caught:
            await write
        assert caught.value.code == "not_found"


async def test_the_last_eight_poll_tokens_open_a_job(store, make_job):
    job = await store.create(make_job(token_hashes=("t0",)))
    for number in range(1, 12):
        await store.add_token(job.id, f"t{number}")
    assert (await store.get(job.id)).token_hashes == tuple(f"t{number}" for number in range(4, 12))


async def test_a_cancel_of_a_queued_job_is_seen_by_whoever_claims_it(store, make_job):
    job = await store.create(make_job())
    await store.request_cancel(job.id)
    claim = await store.claim(job.id, "r")
    assert claim.job.cancel_requested
    ended, _ = await store.finish(claim.job, Status.CANCELED)
    assert ended.status is Status.CANCELED


async def test_waking_notes_the_message_of_a_queued_job_only(store, make_job, clock):
    queued, running = await store.create(make_job()), await store.create(make_job(runner="r"))
    later = clock() + timedelta(minutes=5)
    assert (await store.woken(queued.id, later)).wake_at == later
    assert (await store.woken(running.id, later)).wake_at is None


async def test_live_jobs_are_those_that_have_not_ended(store, make_job, clock):
    old = [await store.create(make_job()) for _ in range(20)]
    await store.finish(await store.create(make_job(runner="r")), Status.FAILED)
    clock.advance(60)
    new = await store.create(make_job(runner="r"))
    assert {job.id async for job in store.live()} == {new.id, *(job.id for job in old)}
    assert {job.id async for job in store.live(created_before=clock())} == {job.id for job in old}
