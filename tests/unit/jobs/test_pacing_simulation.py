"""Many runners on several instances against a service that polices short windows: it never has to refuse.

Virtual time and a table in memory whose operations take a while, so that reservations collide, answers come late and
runners wake late, as they do in the cloud.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.jobs.pacing import Later, Pacer
from shared.jobs.rate import make_slot
from shared.settings import Deployment
from tests.unit.jobs.memory_table import MemoryTable
from tests.unit.jobs.virtual_time import START, clock, run

MINUTES = 6


class Service:
    """Takes a call if the last `window` seconds saw fewer than their share of the minute; refused calls count too."""

    def __init__(self, rpm: float, window: float) -> None:
        self._share = math.ceil(rpm * window / 60)
        self._window = window
        self.calls: list[float] = []
        self.refused = 0

    def take(self, at: float) -> None:
        recent = [call for call in self.calls if call > at - self._window + 1e-6]
        self.refused += len(recent) >= self._share
        self.calls.append(at)


def simulate(deployments, services, *, runners, seed, lateness=0.0, network=0.0, latency=0.02):
    """`runners` that always have a next job call for some minutes; returns when each slot was used."""
    chance = random.Random(seed)
    table = MemoryTable(latency=lambda: chance.uniform(0, latency))

    async def runner(pacer, end):
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            slot = await pacer.reserve(deployments)
            if isinstance(slot, Later):
                await asyncio.sleep((slot.at - clock()).total_seconds())
                continue
            late = chance.uniform(0, lateness) if chance.random() < 0.5 else 0.0
            await asyncio.sleep(max((slot.at - clock()).total_seconds() + late - 0.2, 0.0))
            if await pacer.take_turn(slot):
                loop.call_later(chance.uniform(0, network), arrive, slot.deployment)
                await asyncio.sleep(chance.uniform(0, 60))

    def arrive(name):
        for service in services[name]:
            service.take(asyncio.get_running_loop().time())

    async def main():
        pacers = [Pacer(table, clock=clock) for _ in range(3)]
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            for number in range(runners):
                group.create_task(runner(pacers[number % len(pacers)], 60.0 * MINUTES))

    run(main())


def make(name, rpm):
    return Deployment(name=name, endpoint="https://example.com", deployment=name, requests_per_minute=rpm)


@settings(max_examples=25)
@given(
    rpms=st.lists(st.sampled_from([0.5, 3, 7, 9, 10, 12, 18, 20, 30, 45]), min_size=1, max_size=3),
    runners=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    lateness=st.sampled_from([0.0, 0.05, 1.0, 10.0]),
)
def test_windows_of_1_s_10_s_and_a_minute_never_refuse(rpms, runners, seed, lateness):
    deployments = [make(f"d{number}", rpm) for number, rpm in enumerate(rpms)]
    services = {
        entry.name: [Service(entry.requests_per_minute, window) for window in (1.0, 10.0, 60.0)]
        for entry in deployments
    }
    simulate(deployments, services, runners=runners, seed=seed, lateness=lateness, network=0.02)
    assert [service.refused for entry in services.values() for service in entry] == [0] * 3 * len(deployments)


@settings(max_examples=10)
@given(rpm=st.sampled_from([60, 61, 90, 120]), seed=st.integers(0, 2**32), lateness=st.sampled_from([0.0, 0.05, 1.0]))
def test_at_high_rates_the_10_s_window_never_refuses(rpm, seed, lateness):
    service = Service(rpm, 10.0)
    simulate([make("d", rpm)], {"d": [service]}, runners=60, seed=seed, lateness=lateness, network=0.05)
    assert service.refused == 0


@settings(max_examples=10)
@given(rpm=st.sampled_from([9, 30, 60]), seed=st.integers(0, 2**32))
def test_calls_are_never_closer_than_the_interval_less_its_tolerance(rpm, seed):
    service = Service(rpm, 10.0)
    simulate([make("d", rpm)], {"d": [service]}, runners=30, seed=seed, lateness=1.0)
    slot = make_slot(make("d", rpm), START)
    gaps = [later - earlier for earlier, later in itertools.pairwise(service.calls)]
    assert min(gaps) >= (slot.interval - slot.tolerance).total_seconds() - 1e-5


@pytest.mark.parametrize("rpm", [9, 30, 60])
def test_with_enough_runners_hardly_a_slot_goes_by_unused(rpm):
    service = Service(rpm, 10.0)
    simulate([make("d", rpm)], {"d": [service]}, runners=3 * rpm, seed=1)
    in_time = [call for call in service.calls if call <= 60.0 * MINUTES]
    assert len(in_time) >= 0.95 * MINUTES * rpm / 1.02


@pytest.mark.parametrize("queued", [100, 1000])
def test_a_caller_who_waits_gets_a_turn_at_once_though_a_backlog_fills_every_minute(queued):
    """Callers come in the middle of a backlog; returns of those without a slot never leave a free one for long."""
    d = make("d", 60)
    minute = timedelta(seconds=60)

    async def runner(pacer):
        slot = await pacer.reserve([d])
        while isinstance(slot, Later):
            await asyncio.sleep((slot.at - clock()).total_seconds())
            slot = await pacer.reserve([d])

    async def main():
        table = MemoryTable(latency=lambda: 0.01)
        pacers = [Pacer(table, clock=clock) for _ in range(4)]
        backlog = [asyncio.create_task(runner(pacers[number % 4])) for number in range(queued)]
        waits = []
        for _ in range(5):
            await asyncio.sleep(7)
            came = clock()
            slot = await pacers[0].reserve([d], horizon=timedelta(seconds=150))
            waits.append(slot.at - came)
        for task in backlog:
            task.cancel()
        await asyncio.gather(*backlog, return_exceptions=True)
        return waits

    waits = run(main())
    assert max(waits) <= minute + 3 * make_slot(d, START).interval
    assert min(waits) > minute / 2


@pytest.mark.parametrize(("instances", "each"), [(1, 80), (4, 80)])
def test_those_who_reserve_at_once_are_rarely_in_each_others_way(instances, each):
    operations = itertools.count()
    table = MemoryTable(latency=lambda: 0.01 + 0 * next(operations))

    async def main():
        pacers = [Pacer(table, clock=clock) for _ in range(instances)]
        tasks = (pacer.reserve([make("d", 6000)]) for pacer in pacers for _ in range(each))
        return await asyncio.gather(*tasks)

    slots = run(main())
    assert len({slot.at for slot in slots}) == instances * each
    assert next(operations) <= 8 * instances * each  # half of what they need when all of them try at once


def test_the_simulated_service_refuses_what_comes_too_fast():
    service = Service(9, 10.0)
    for at in (0.0, 1.0, 2.0):
        service.take(at)
    assert service.refused == 1


def test_the_simulation_covers_the_minutes_it_claims():
    async def wait():
        start = clock()
        await asyncio.sleep(60 * MINUTES)
        return clock() - start

    assert run(wait()) == timedelta(minutes=MINUTES)
