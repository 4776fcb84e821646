"""A lease is renewed while its runner works, and its runner learns of a cancel, a loss or a storage that is silent."""

from __future__ import annotations

import asyncio

import pytest
from azure.core.exceptions import ServiceRequestError

from shared.errors import DarkroomError
from shared.jobs.job import Phase, Status
from shared.jobs.lease import Lease
from shared.jobs.store import ClaimOutcome, JobStore


class Pauses:
    """Stands for `asyncio.sleep` in a lease: each pause ends when the test lets it, and takes its time on the clock."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self._asked: asyncio.Queue[float] = asyncio.Queue()
        self._ended: asyncio.Queue[None] = asyncio.Queue()
        self._seconds: float | None = None

    async def sleep(self, seconds: float) -> None:
        self._asked.put_nowait(seconds)
        await self._ended.get()

    async def let_pass(self, lease) -> float:
        """Let one pause pass; returns its length once the lease has done what it does after it."""
        seconds = self._seconds or await self._asked.get()
        self._clock.advance(seconds)
        self._ended.put_nowait(None)
        asked = asyncio.create_task(self._asked.get())
        await asyncio.wait([asked, lease._renewals], return_when=asyncio.FIRST_COMPLETED)
        self._seconds = asked.result() if asked.done() else None
        asked.cancel()
        return seconds


@pytest.fixture
def table(tables):
    return tables("jobs")


@pytest.fixture
def store(table, clock):
    return JobStore(table, clock=clock)


@pytest.fixture
def pauses(clock):
    return Pauses(clock)


@pytest.fixture
def hold(store, clock, pauses, make_job):
    async def begin(store=store):
        job = await store.create(make_job(runner="r"))
        return Lease(store, job, sleep=pauses.sleep, monotonic=lambda: clock().timestamp())

    return begin


async def test_a_held_lease_is_renewed_every_20_s(hold, store, pauses, clock):
    async with await hold() as lease:
        for _ in range(5):
            assert await pauses.let_pass(lease) == 20
            assert lease.safe()
        stored = await store.get(lease.job.id)
        assert (stored.lease_until - clock()).total_seconds() == 60
        assert stored == lease.job


async def test_leaving_ends_the_renewals_and_gives_nothing_back(hold, store, clock, pauses):
    async with await hold() as lease:
        await pauses.let_pass(lease)
    assert lease._renewals.done()
    assert (await store.claim(lease.job.id, "other")).outcome is ClaimOutcome.HELD
    clock.advance(75)
    assert (await store.claim(lease.job.id, "other")).taken_over


async def test_renewals_and_the_runners_writes_do_not_undo_each_other(hold, store, pauses):
    async with await hold() as lease:
        await lease.begin_call("dep", "region")
        await pauses.let_pass(lease)
        await lease.update(phase=Phase.STORING)
        await pauses.let_pass(lease)
        stored = await store.get(lease.job.id)
    assert (stored.phase, stored.deployment, stored.calls) == (Phase.STORING, "dep", 1)


async def test_writes_at_the_very_moment_of_a_renewal_both_count(hold, store, pauses):
    async with await hold() as lease:
        await asyncio.gather(pauses.let_pass(lease), lease.begin_call("dep"), lease.update(region="x"))
        assert await store.get(lease.job.id) == lease.job
    assert (lease.job.calls, lease.job.region) == (1, "x")


async def test_a_cancel_is_seen_at_the_next_renewal(hold, store, pauses):
    async with await hold() as lease:
        await store.request_cancel(lease.job.id)
        assert not lease.interrupted.is_set()
        await pauses.let_pass(lease)
        assert lease.interrupted.is_set()
        assert lease.cancel_requested
        assert lease.safe()
        with pytest.raises(DarkroomError) as caught:
            lease.check()
        assert caught.value.code == "canceled"
        ended, _ = await lease.finish(Status.CANCELED)
    assert ended.status is Status.CANCELED


async def test_a_cancel_does_not_stop_a_call_under_way(hold, store, pauses):
    async with await hold() as lease:
        await lease.begin_call("dep")
        await store.request_cancel(lease.job.id)
        await pauses.let_pass(lease)
        lease.check()
        assert lease.interrupted.is_set()


async def test_a_cancel_from_before_the_hold_is_seen_at_once(store, make_job):
    job = await store.create(make_job())
    await store.request_cancel(job.id)
    async with store.hold((await store.claim(job.id, "r")).job) as lease:
        assert lease.interrupted.is_set()
        assert lease.cancel_requested


async def test_a_lease_that_was_taken_over_is_lost(hold, store, pauses, clock):
    async with await hold() as lease:
        clock.advance(80)
        assert not lease.safe()
        await store.claim(lease.job.id, "heir")
        await pauses.let_pass(lease)
        assert lease.interrupted.is_set()
        for write in (lease.update(), lease.begin_call("dep"), lease.finish(Status.SUCCEEDED)):
            with pytest.raises(DarkroomError) as caught:
                await write
            assert caught.value.code == "lease_lost"
        assert not lease.safe()
        with pytest.raises(DarkroomError) as caught:
            lease.check()
    assert caught.value.code == "lease_lost"


async def test_after_the_end_a_lease_writes_nothing_more(hold, store, pauses):
    async with await hold() as lease:
        ended, (entry,) = await lease.finish(Status.FAILED, error={"code": "expired"})
        await pauses.let_pass(lease)
        assert entry.job_id == ended.id
        with pytest.raises(DarkroomError) as caught:
            await lease.update()
        assert caught.value.code == "lease_lost"
    assert await store.get(ended.id) == ended


async def test_after_it_was_given_back_a_lease_writes_nothing_more(hold, store, pauses, clock):
    async with await hold() as lease:
        given = await lease.give_back(wake_at=clock())
        claim = await store.claim(given.id, "other")
        await pauses.let_pass(lease)
        assert not lease.safe()
    assert (await store.get(given.id)) == claim.job


@pytest.mark.parametrize("tables", ["memory"], indirect=True)
async def test_a_lease_that_cannot_be_renewed_is_unsafe_10_s_before_its_end_and_recovers(hold, table, pauses, clock):
    async with await hold() as lease:
        table.refuse = ServiceRequestError("down")
        passed = 0.0
        while passed < 50:
            assert lease.safe()
            passed += await pauses.let_pass(lease)
        assert not lease.safe()
        table.refuse = None
        # A renewal that gets through proves that nobody took the job over.
        assert await pauses.let_pass(lease) == 2
        assert lease.safe()
        lease.check()


@pytest.mark.parametrize("tables", ["memory"], indirect=True)
async def test_a_wall_clock_that_is_set_back_does_not_keep_a_lease_safe(store, clock, make_job):
    elapsed = 0.0
    lease = Lease(store, await store.create(make_job(runner="r")), monotonic=lambda: elapsed)
    assert lease.safe()
    clock.advance(-3600)
    elapsed = 50.0
    assert not lease.safe()


async def test_only_a_leased_job_can_be_held(store, make_job):
    with pytest.raises(ValueError, match="without a lease"):
        store.hold(make_job())


def failing(*errors):
    """Work that fails with each of these, and then gives how often it was asked."""
    left = [*errors]
    asked = 0

    async def work():
        nonlocal asked
        asked += 1
        if left:
            raise left.pop(0)
        return asked

    return work


@pytest.mark.parametrize("tables", ["memory"], indirect=True)
async def test_what_passes_is_waited_for_while_the_lease_is_safe(hold, pauses):
    lease = await hold()
    down = DarkroomError("storage_unavailable", "x")
    work = asyncio.create_task(lease.patiently(failing(down, down), (1.0, 2.0, 4.0)))
    for seconds in (1.0, 2.0):
        assert await pauses._asked.get() == seconds
        pauses._ended.put_nowait(None)

    assert await work == 3


@pytest.mark.parametrize("tables", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("code", "late"), [("internal_error", 0), ("signing_unavailable", 0), ("storage_unavailable", 51)]
)
async def test_what_does_not_pass_or_comes_too_late_is_not_waited_for(hold, clock, code, late):
    lease = await hold()
    clock.advance(late)
    with pytest.raises(DarkroomError) as caught:
        await lease.patiently(failing(DarkroomError(code, "x")), (1.0,))
    assert caught.value.code == code


@pytest.mark.parametrize("tables", ["memory"], indirect=True)
async def test_patience_has_an_end(store, make_job):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    lease = Lease(store, await store.create(make_job(runner="r")), sleep=sleep)
    down = [DarkroomError("signing_unavailable", "x") for _ in range(4)]
    with pytest.raises(DarkroomError) as caught:
        await lease.patiently(failing(*down), (1.0, 2.0), {"signing_unavailable"})
    assert (caught.value.code, slept) == ("signing_unavailable", [1.0, 2.0])
