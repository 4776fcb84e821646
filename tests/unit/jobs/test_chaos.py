"""Runners die, answers get lost, messages come twice, cancels race: every job still ends once and is announced once."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.job import Door, Phase, Status, new_job, new_runner
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger, Outcome
from shared.jobs.store import ClaimOutcome, JobStore
from tests.unit.jobs.memory_table import MemoryTable
from tests.unit.jobs.virtual_time import clock, run

JOBS = 6


class Died(Exception):  # noqa: N818
    """The process is gone: nothing after this runs, not even the clean-up."""


class World:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.table = MemoryTable(latency=lambda: self.chance.uniform(0, 0.5))
        self.ledger_table = MemoryTable(latency=lambda: self.chance.uniform(0, 0.5))
        self.store = JobStore(self.table, clock=clock)
        self.ledger = Ledger(self.ledger_table, clock=clock)
        self.calls: list[tuple[str, int]] = []
        self.ends: list[str] = []
        self.busy: set[str] = set()
        self.overlaps = 0

    def perhaps_die(self) -> None:
        if self.chance.random() < 0.08:
            raise Died
        if self.chance.random() < 0.1:
            self.table.lose_answers = 1

    async def deliver(self, job_id: str) -> None:
        """What the queue function does with a message, as far as this room is concerned."""
        claim = await self.store.claim(job_id, new_runner())
        if claim.outcome is not ClaimOutcome.CLAIMED:
            return
        lease = Lease(self.store, claim.job, monotonic=asyncio.get_running_loop().time)
        await lease.__aenter__()
        try:
            await self.work(lease)
        finally:
            # Dead or done, no renewals follow; a dead runner's lease is left to run out.
            lease._renewals.cancel()

    async def work(self, lease: Lease) -> None:
        self.perhaps_die()
        if lease.job.call_started_at is not None:
            await self.ledger.settle(lease.job, Outcome.UNKNOWN)
            await lease.update(call_started_at=None)
        if lease.cancel_requested:
            await self.end(lease, Status.CANCELED)
            return
        self.perhaps_die()
        if self.chance.random() < 0.2:
            await lease.give_back(wake_at=clock())
            return
        await lease.begin_call("dep")
        self.perhaps_die()
        await self.ledger.start(lease.job, model="m", facts={})
        self.perhaps_die()
        lease.check()
        await self.call(lease)
        self.perhaps_die()
        await lease.update(phase=Phase.STORING)
        await self.ledger.settle(lease.job, Outcome.BILLED)
        self.perhaps_die()
        await self.end(lease, Status.SUCCEEDED)

    async def call(self, lease: Lease) -> None:
        self.calls.append((lease.job.id, lease.job.calls))
        self.overlaps += lease.job.id in self.busy
        self.busy.add(lease.job.id)
        try:
            await asyncio.sleep(self.chance.uniform(1, 100))
            if self.chance.random() < 0.1:
                raise Died
        finally:
            self.busy.discard(lease.job.id)

    async def end(self, lease: Lease, status: Status) -> None:
        await lease.finish(status)
        self.ends.append(lease.job.id)

    async def message(self, job_id: str) -> None:
        try:
            await self.deliver(job_id)
        except Died:
            pass
        except DarkroomError as error:
            if error.code not in ("lease_lost", "job_ended", "canceled"):
                raise

    async def main(self) -> list[str]:
        jobs = [await self.store.create(self.new()) for _ in range(JOBS)]
        for job in jobs[:2]:
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 200), self.cancel, job.id)
        async with asyncio.timeout(24 * 3600), asyncio.TaskGroup() as group:
            while live := [job async for job in self.store.live()]:
                for job in live:
                    for _ in range(self.chance.randint(1, 2)):
                        group.create_task(self.message(job.id))
                await asyncio.sleep(30)
        return [job.id for job in jobs]

    def new(self):
        return new_job(kind="generate", door=Door.JOBS, owner="key", now=clock())

    def cancel(self, job_id: str) -> None:
        self.canceling = asyncio.ensure_future(self.request_cancel(job_id))

    async def request_cancel(self, job_id: str) -> None:
        try:
            await self.store.request_cancel(job_id)
        except DarkroomError as error:
            if error.code != "job_ended":
                raise


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_every_job_ends_once_whatever_dies(seed):
    world = World(seed)
    ids = run(world.main())
    rows = [key for _, key in world.table.rows]
    assert sorted(key.rsplit(":", 1)[1] for key in rows if key.startswith("o:")) == sorted(ids)
    assert not [key for key in rows if key.startswith("l:")]
    assert len([key for key in rows if key.startswith("j:")]) == JOBS
    assert sorted(world.ends) == sorted(set(world.ends))


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_no_two_calls_of_a_job_share_a_number_or_overlap_and_each_is_in_the_ledger(seed):
    world = World(seed)
    run(world.main())
    assert len(world.calls) == len(set(world.calls))
    assert world.overlaps == 0
    written = {key for _, key in world.ledger_table.rows}
    assert {f"{job_id}-{call}" for job_id, call in world.calls} <= written
