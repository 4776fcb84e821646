"""Fan-outs die, come twice and race with cancels and the ends of jobs, answers get lost: each request of a batch is one
job or none, every end is counted once, and the batch is announced once."""

from __future__ import annotations

import asyncio
import contextlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.batch_lease import BatchLease
from shared.jobs.batches import BatchStore, stillborn
from shared.jobs.job import Door, Status, new_id, new_job, new_runner
from shared.jobs.store import ClaimOutcome, JobStore
from tests.unit.jobs.memory_table import MemoryTable
from tests.unit.jobs.virtual_time import START, clock, run

TOTAL = 14
STEP = 4
REFUSED = DarkroomError("source_not_readable", "no such blob")


class Died(Exception):  # noqa: N818
    """The process is gone: nothing after this runs, not even the clean-up."""


class World:
    def __init__(self, seed: int, *, cancel: bool) -> None:
        self.chance = random.Random(seed)
        self.table = MemoryTable(latency=lambda: self.chance.uniform(0, 0.3))
        self.store = JobStore(self.table, clock=clock)
        self.batches = BatchStore(self.table, clock=clock)
        self.batch = Batch(id=new_id(START), owner="key", created_at=START, total=TOTAL)
        self.cancel = cancel
        self.entries = []

    def perhaps_die(self) -> None:
        if self.chance.random() < 0.06:
            raise Died
        if self.chance.random() < 0.1:
            self.table.lose_answers = 1

    async def fan_out(self) -> None:
        """What the queue function does with a message, as far as this room is concerned."""
        work = await self.batches.take(self.batch.id, new_runner())
        if work is None:
            return
        lease = BatchLease(self.batches, work, monotonic=asyncio.get_running_loop().time)
        await lease.__aenter__()
        if self.chance.random() < 0.2:
            # A process that stands still and goes on, not knowing that its lease is over.
            lease._renewals.cancel()
            lease._monotonic = lambda: 0.0
            await asyncio.sleep(self.chance.uniform(0, 200))
        try:
            while not lease.over:
                self.perhaps_die()
                if lease.work.canceling:
                    await self.cancel_made(lease)
                elif lease.work.made < TOTAL:
                    await self.make_some(lease)
                else:
                    await lease.done()
        except Died:
            lease._renewals.cancel()  # its lease is left to run out
            raise
        await lease.__aexit__(None, None, None)

    async def make_some(self, lease: BatchLease) -> None:
        start = lease.work.made
        fresh = [new_id(clock()) for _ in range(min(STEP, TOTAL - start))]
        ids = await self.batches.claim(self.batch.id, start, fresh)
        self.perhaps_die()
        await asyncio.sleep(self.chance.uniform(0, 40))  # sources are stored; longer than between two renewals
        jobs = [self.made_of(start + place, job_id) for place, job_id in enumerate(ids)]
        self.entries += await lease.make(jobs, due=clock())

    def made_of(self, index, job_id):
        job = new_job(kind="generate", door=Door.BATCH, owner="key", now=clock(), id=job_id, batch=self.batch.id)
        return stillborn(job, REFUSED, clock()) if index % 5 == 0 else job

    async def cancel_made(self, lease: BatchLease) -> None:
        claimed = await self.batches.children(self.batch.id)
        for index, job_id in claimed.items():
            if index < lease.work.made:
                with contextlib.suppress(DarkroomError):
                    await self.store.request_cancel(job_id)
                await self.run_job(job_id)
            self.perhaps_die()
        await lease.done()

    async def run_job(self, job_id: str) -> None:
        claim = await self.store.claim(job_id, new_runner())
        if claim.outcome is not ClaimOutcome.CLAIMED:
            return
        if claim.job.cancel_requested:
            _, entries = await self.store.finish(claim.job, Status.CANCELED)
        else:
            self.perhaps_die()
            await asyncio.sleep(self.chance.uniform(0, 40))
            _, entries = await self.store.finish(claim.job, Status.SUCCEEDED)
        self.entries += entries

    async def message(self, what) -> None:
        try:
            await what
        except Died:
            pass
        except DarkroomError as error:
            if error.code not in ("lease_lost", "job_ended", "not_found", "batch_ended"):
                raise

    async def ask_to_cancel(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, 120))
        await self.batches.cancel(self.batch.id, due=clock())
        self.jobs_at_cancel = self.keys("j:")

    async def main(self) -> Batch:
        await self.batches.create(self.batch)
        async with asyncio.timeout(24 * 3600), asyncio.TaskGroup() as group:
            if self.cancel:
                group.create_task(self.message(self.ask_to_cancel()))
            for _ in range(self.chance.randint(1, 3)):
                group.create_task(self.message(self.fan_out()))
            while not (batch := await self.store.batch(self.batch.id)).finished_at or self.keys("n:"):
                async for batch_id in self.batches.overdue():
                    assert batch_id == self.batch.id
                    group.create_task(self.message(self.fan_out()))
                for job in [job async for job in self.store.live()]:
                    group.create_task(self.message(self.run_job(job.id)))
                await asyncio.sleep(30)
        return batch

    def keys(self, kind: str) -> list[str]:
        return [key for _, key in self.table.rows if key.startswith(kind)]


def assert_counted_and_told_once(world: World, batch: Batch) -> None:
    jobs = [row for (_, key), (row, _) in world.table.rows.items() if key.startswith("j:")]
    ended = [row["status"] for row in jobs]
    never = TOTAL - len(jobs)

    assert batch.ended == TOTAL
    assert (batch.succeeded, batch.failed) == (ended.count("succeeded"), ended.count("failed"))
    assert batch.canceled == ended.count("canceled") + never
    assert (world.keys("l:"), world.keys("n:")) == ([], [])
    told = [key.split(":")[2:] for key in world.keys("o:")]
    assert sorted(told) == sorted([*([row["id"]] for row in jobs), [batch.id, "batch"]])
    assert len({row["id"] for row in jobs}) == len(jobs)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_each_request_is_one_job_and_each_end_counts_once_whatever_dies(seed):
    world = World(seed, cancel=False)
    batch = run(world.main())

    assert len(world.keys("j:")) == TOTAL
    assert_counted_and_told_once(world, batch)
    claimed = {row["job_id"] for (partition, _), (row, _) in world.table.rows.items() if partition == batch.id}
    assert claimed == {key.removeprefix("j:") for key in world.keys("j:")}


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_a_cancel_at_any_moment_makes_no_job_after_it_and_counts_each_request_once(seed):
    world = World(seed, cancel=True)
    batch = run(world.main())

    assert_counted_and_told_once(world, batch)
    if batch.cancel_requested:
        assert sorted(world.jobs_at_cancel) == sorted(world.keys("j:"))
