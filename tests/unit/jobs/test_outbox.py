"""Announcements that are due come out oldest first, leave when sent, and come back later when not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from shared.jobs.job import Status
from shared.jobs.outbox import Outbox
from shared.jobs.store import JobStore


@pytest.fixture
def outbox(tables, clock):
    return Outbox(tables("jobs"), clock=clock)


@pytest.fixture
def end_job(tables, clock, make_job):
    store = JobStore(tables("jobs"), clock=clock)

    async def end(due=None):
        return (await store.finish(await store.create(make_job(runner="r")), Status.SUCCEEDED, due=due))[1][0]

    return end


async def test_what_is_due_comes_oldest_first_and_no_sooner(outbox, end_job, clock):
    later = await end_job(clock() + timedelta(seconds=30))
    first = await end_job()
    clock.advance(1)
    second = await end_job()
    assert await outbox.due() == [first, second]
    assert await outbox.due(limit=1) == [first]
    clock.advance(29)
    assert await outbox.due() == [first, second, later]


async def test_what_was_sent_is_out_and_may_be_taken_out_twice(outbox, end_job):
    entry = await end_job()
    await outbox.sent(entry)
    await outbox.sent(entry)
    assert await outbox.due() == []


async def test_what_was_postponed_is_due_later_with_one_try_more(outbox, end_job, clock):
    entry = await end_job()
    later = await outbox.postpone(entry, clock() + timedelta(seconds=10))
    assert await outbox.due() == []
    clock.advance(10)
    assert await outbox.due() == [later]
    assert later.tries == 1


async def test_of_two_senders_one_takes_the_entry(outbox, end_job, clock):
    entry = await end_job()
    taken = await asyncio.gather(
        *(outbox.postpone(entry, clock() + timedelta(seconds=10, microseconds=number)) for number in range(3))
    )
    assert len([later for later in taken if later]) == 1
    clock.advance(11)
    assert await outbox.due() == [later for later in taken if later]


async def test_what_was_sent_cannot_be_postponed(outbox, end_job, clock):
    entry = await end_job()
    await outbox.sent(entry)
    assert await outbox.postpone(entry, clock()) is None
