"""A batch's work stays its runner's while that one lives, and is free for the next as soon as it ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from azure.core.exceptions import HttpResponseError

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.batch_lease import BatchLease
from shared.jobs.batches import BatchStore
from shared.jobs.job import new_id
from tests.unit.jobs.memory_table import MemoryTable
from tests.unit.jobs.virtual_time import START, clock, run


async def held(table: MemoryTable) -> tuple[BatchStore, str, BatchLease]:
    store = BatchStore(table, clock=clock)
    batch = await store.create(Batch(id=new_id(START), owner="key", created_at=START, total=3, folder="f"))
    work = await store.take(batch.id, "r")
    assert work is not None
    return store, batch.id, BatchLease(store, work, monotonic=asyncio.get_running_loop().time)


def test_a_run_of_minutes_keeps_the_work_and_leaves_it_free():
    async def main():
        store, batch_id, lease = await held(MemoryTable())
        async with lease:
            for _ in range(5):
                await asyncio.sleep(60)
                lease.check()
                assert await store.take(batch_id, "other") is None
        assert (await store.take(batch_id, "other")).runner == "other"

    run(main())


def test_a_runner_that_cannot_renew_stops_before_another_may_begin():
    async def main():
        table = MemoryTable()
        store, batch_id, lease = await held(table)
        async with lease:
            table.refuse = HttpResponseError(response=SimpleNamespace(status_code=403, reason="", headers={}))
            await asyncio.sleep(51)
            with pytest.raises(DarkroomError) as lost:
                lease.check()
            assert lost.value.code == "lease_lost"
            table.refuse = None
            assert await store.take(batch_id, "other") is None

    run(main())


def test_work_that_is_done_is_not_given_to_anybody():
    async def main():
        store, batch_id, lease = await held(MemoryTable())
        async with lease:
            await lease.done()
        assert lease.over
        assert await store.take(batch_id, "other") is None

    run(main())
