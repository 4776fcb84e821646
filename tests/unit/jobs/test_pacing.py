"""The shared record: choosing a deployment, slots kept, blocked, given up, moved, in memory and on Azurite."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import DarkroomError
from shared.jobs.pacing import Later, Pacer, Slot, slot_of
from shared.settings import Deployment


def deployment(name: str, rpm: float = 9, **given) -> Deployment:
    return Deployment(name=name, endpoint="https://example.com", deployment=name, requests_per_minute=rpm, **given)


FIRST = deployment("first/of #two?")
SECOND = deployment("second")
INTERVAL = timedelta(seconds=6.8)


@pytest.fixture
def pacer(tables, clock):
    async def sleep(seconds):
        clock.advance(seconds)

    return Pacer(tables("pacing"), clock=clock, sleep=sleep)


async def test_the_first_slot_is_now_and_the_next_an_interval_later(pacer, clock):
    slots = [await pacer.reserve([FIRST]) for _ in range(3)]
    assert [slot.at - clock() for slot in slots] == [INTERVAL * number for number in range(3)]
    assert {slot.deployment for slot in slots} == {FIRST.name}


async def test_reservations_at_once_never_share_a_slot(pacer, clock):
    slots = await asyncio.gather(*(pacer.reserve([FIRST]) for _ in range(6)))
    assert sorted(slot.at - clock() for slot in slots) == [INTERVAL * number for number in range(6)]


async def test_no_slot_is_reserved_more_than_a_minute_ahead(pacer, clock):
    slots = [await pacer.reserve([FIRST]) for _ in range(9)]
    assert slots[-1].at - clock() <= timedelta(seconds=60)
    later = await pacer.reserve([FIRST])
    assert isinstance(later, Later)
    assert timedelta(seconds=15) <= later.at - clock() <= timedelta(seconds=50)
    assert await pacer.reserve([FIRST]) != later


async def test_a_caller_who_waits_gets_the_turn_that_follows_a_full_minute(pacer, clock):
    slots = [await pacer.reserve([FIRST]) for _ in range(9)]
    patience = timedelta(seconds=90)
    assert isinstance(await pacer.reserve([FIRST]), Later)
    assert (await pacer.reserve([FIRST], horizon=patience)).at == slots[-1].at + INTERVAL
    for _ in range(4):
        await pacer.reserve([FIRST], horizon=patience)
    later = await pacer.reserve([FIRST], horizon=patience)
    assert (type(later), later.earliest) == (Later, clock() + 14 * INTERVAL)


async def test_the_first_deployment_with_a_slot_soon_is_taken_else_the_earliest(pacer, clock):
    taken = [await pacer.reserve([FIRST, SECOND]) for _ in range(6)]
    assert [(slot.deployment, (slot.at - clock()) / INTERVAL) for slot in taken] == [
        (FIRST.name, 0),
        (FIRST.name, 1),
        (SECOND.name, 0),
        (SECOND.name, 1),
        (FIRST.name, 2),
        (SECOND.name, 2),
    ]


async def test_an_estimate_reserves_nothing(pacer, clock):
    assert await pacer.estimate_wait([FIRST]) == timedelta(0)
    assert await pacer.estimate_wait([FIRST]) == timedelta(0)
    for _ in range(10):
        await pacer.reserve([FIRST])
    assert await pacer.estimate_wait([FIRST]) == INTERVAL * 9
    assert await pacer.estimate_wait([FIRST, SECOND]) == timedelta(0)


async def test_a_slot_is_good_at_its_time(pacer, clock):
    await pacer.reserve([FIRST])
    slot = await pacer.reserve([FIRST])
    assert await pacer.take_turn(slot)
    assert clock() == slot.at


async def test_a_block_voids_the_slots_of_everyone_before_it(pacer, clock):
    slots = [await pacer.reserve([FIRST]) for _ in range(4)]
    await pacer.blocked(FIRST, clock() + timedelta(seconds=10))
    assert [await pacer.take_turn(slot) for slot in slots] == [False, False, True, True]
    following = await pacer.reserve([FIRST])
    assert following.at == slots[-1].at + INTERVAL


async def test_a_block_beyond_the_minute_sends_everyone_away_until_it_nears_its_end(pacer, clock):
    await pacer.blocked(FIRST, clock() + timedelta(hours=1))
    later = await pacer.reserve([FIRST])
    assert later.at >= clock() + timedelta(minutes=59)
    assert await pacer.estimate_wait([FIRST]) == timedelta(hours=1)
    assert (await pacer.reserve([FIRST, SECOND])).deployment == SECOND.name


async def test_a_turn_that_is_blocked_while_it_waits_is_not_taken(tables, clock):
    async def sleep(seconds):
        clock.advance(seconds)
        await other.blocked(FIRST, clock() + timedelta(seconds=30))

    other = Pacer(tables("pacing"), clock=clock)
    pacer = Pacer(tables("pacing"), clock=clock, sleep=sleep)
    await pacer.reserve([FIRST])
    slot = await pacer.reserve([FIRST])
    assert not await pacer.take_turn(slot)


async def test_an_unexplained_429_stretches_what_follows(pacer, clock):
    slot = await pacer.reserve([FIRST])
    await pacer.blocked(FIRST, clock() + timedelta(seconds=2), slot=slot)
    (state,) = await pacer.view([FIRST])
    assert state.stretched_until == clock() + timedelta(minutes=10)
    assert (await pacer.reserve([FIRST])).interval == INTERVAL * 1.5


async def test_a_slot_that_went_by_is_not_used(pacer, clock):
    slot = await pacer.reserve([FIRST])
    clock.advance(3.5)
    assert not await pacer.take_turn(slot)


async def test_a_late_slot_is_moved_while_no_other_follows_it(pacer, clock):
    slot = await pacer.reserve([FIRST])
    clock.advance(3)
    assert await pacer.take_turn(slot)
    following = await pacer.reserve([FIRST])
    assert following.at - clock() == INTERVAL


async def test_a_late_slot_is_lost_when_another_follows_it(pacer, clock):
    slot = await pacer.reserve([FIRST])
    await pacer.reserve([FIRST])
    clock.advance(slot.tolerance.total_seconds())
    assert await pacer.take_turn(slot)
    clock.advance(0.001)
    assert not await pacer.take_turn(slot)


async def test_a_slot_given_up_is_the_next_ones(pacer):
    slot = await pacer.reserve([FIRST])
    await pacer.give_up(slot)
    assert (await pacer.reserve([FIRST])).at == slot.at


async def test_a_slot_given_up_too_late_goes_by(pacer):
    slot, last = await pacer.reserve([FIRST]), await pacer.reserve([FIRST])
    await pacer.give_up(slot)
    assert (await pacer.reserve([FIRST])).at == last.at + INTERVAL


async def test_a_deployment_that_is_out_is_passed_over_and_shows_in_health(pacer, clock):
    slot = await pacer.reserve([FIRST])
    await pacer.out(FIRST, "HTTP 401")
    assert not await pacer.take_turn(slot)
    assert (await pacer.reserve([FIRST, SECOND])).deployment == SECOND.name
    first, second = await pacer.view([FIRST, SECOND])
    assert (first.name, first.out_reason, first.out_since) == (FIRST.name, "HTTP 401", clock())
    assert (second.out_reason, second.next_at) == (None, clock() + INTERVAL)


async def test_a_deployment_that_was_out_is_the_first_choice_again_after_ten_minutes(pacer, clock):
    await pacer.out(FIRST, "HTTP 401")
    assert (await pacer.reserve([FIRST, SECOND])).deployment == SECOND.name
    clock.advance(599)
    assert (await pacer.reserve([FIRST, SECOND])).deployment == SECOND.name
    clock.advance(1)
    assert (await pacer.reserve([FIRST, SECOND])).deployment == FIRST.name
    (state,) = await pacer.view([FIRST])
    assert state.out_reason is None


async def test_when_every_deployment_is_out_there_is_none(pacer):
    await pacer.out(FIRST, "HTTP 401")
    with pytest.raises(DarkroomError) as caught:
        await pacer.reserve([FIRST])
    assert caught.value.code == "deployment_unavailable"
    assert await pacer.estimate_wait([FIRST]) is None


async def test_a_changed_configuration_brings_a_deployment_back(pacer):
    await pacer.out(FIRST, "HTTP 401")
    changed = replace(FIRST, api_version="v1")
    slot = await pacer.reserve([changed])
    assert isinstance(slot, Slot)
    assert await pacer.take_turn(slot)
    (state,) = await pacer.view([changed])
    assert state.out_reason is None


async def test_health_of_a_deployment_never_called_is_empty(pacer):
    (state,) = await pacer.view([FIRST])
    assert (state.next_at, state.blocked_until, state.stretched_until, state.out_reason) == (None,) * 4


async def test_the_slot_a_job_was_given_back_with_is_used(pacer, make_job):
    await pacer.reserve([FIRST])
    slot = await pacer.reserve([FIRST])
    job = replace(make_job(), slot_at=slot.at, deployment=slot.deployment)
    assert slot_of(job, [SECOND, FIRST]) == slot
    assert await pacer.take_turn(slot_of(job, [FIRST]))
    assert slot_of(make_job(), [FIRST]) is None
    assert slot_of(job, [SECOND]) is None
