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


SUBSCRIPTIONS = [f"{number:026}" for number in range(250)]


async def test_deliveries_are_put_beside_an_event_once_each_and_are_due_apart_from_it(outbox, end_job, clock):
    event = await end_job()
    due = clock() + timedelta(seconds=60)
    made = await outbox.hand_out(event, SUBSCRIPTIONS, due)
    again = await outbox.hand_out((await outbox.due())[0], SUBSCRIPTIONS, due + timedelta(seconds=1))

    assert [entry.subscription for entry in made] == SUBSCRIPTIONS
    assert again == ()
    assert await outbox.due_deliveries() == []
    clock.advance(61)
    assert [entry.key for entry in await outbox.due()] == [event.key]
    assert await outbox.due_deliveries(limit=1_000) == list(made)
    await outbox.sent(event)
    await outbox.sent(made[0])
    assert await outbox.due_deliveries(limit=1) == [made[1]]


async def test_an_event_that_was_put_off_still_knows_who_has_its_delivery(outbox, end_job, clock):
    event = await end_job()
    await outbox.hand_out(event, SUBSCRIPTIONS[:3], clock())
    (read,) = await outbox.due()
    later = await outbox.postpone(read, clock() + timedelta(seconds=10))

    assert later.told == SUBSCRIPTIONS[2]
    clock.advance(10)
    assert await outbox.due() == [later]
    assert await outbox.hand_out(later, SUBSCRIPTIONS[:3], clock()) == ()


async def test_who_read_an_event_before_its_deliveries_were_put_there_cannot_put_it_off(outbox, end_job, clock):
    await end_job()
    (read,) = await outbox.due()
    await outbox.hand_out(read, SUBSCRIPTIONS[:1], clock())

    assert await outbox.postpone(read, clock() + timedelta(seconds=10)) is None
    (current,) = await outbox.due()
    assert current.told == SUBSCRIPTIONS[0]


async def test_an_event_that_another_sender_has_is_left_to_it(outbox, end_job, clock):
    event = await end_job()
    (read,) = await outbox.due()
    later = await outbox.postpone(read, clock() + timedelta(seconds=10))

    assert await outbox.hand_out(event, SUBSCRIPTIONS[:2], clock()) == ()
    assert await outbox.due_deliveries() == []
    assert len(await outbox.hand_out(later, SUBSCRIPTIONS[:2], clock())) == 2


async def test_a_delivery_that_was_postponed_keeps_its_subscription(outbox, end_job, clock):
    (entry,) = await outbox.hand_out(await end_job(), SUBSCRIPTIONS[:1], clock())
    later = await outbox.postpone(entry, clock() + timedelta(seconds=10))

    assert (later.subscription, later.tries) == (SUBSCRIPTIONS[0], 1)
    assert await outbox.due_deliveries() == []
    clock.advance(10)
    assert await outbox.due_deliveries() == [later]
