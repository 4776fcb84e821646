"""One run, from the first order to the account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local.state import StackInfo
from tests.chaos import audit, evidence, orders
from tests.chaos.audit import Account
from tests.chaos.doors import Asked, Callers
from tests.chaos.faults import Done, Faults
from tests.chaos.ground import Ground
from tests.chaos.patience import Patience
from tests.support.model_control import ModelControl

ASKED_FOR = 10
"""Images that are asked for at the end, as callers would."""
ENOUGH_CALLS = 0.5
"""Things go wrong until so many calls were made, of one for each order,"""
LONGEST = 3
"""but no longer than this many times the seconds they should."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """What a run is. `asking` and `breaking` are seconds: over how many the orders come, for how many things go wrong.
    `hurry`: the time that the dead hold things up is not waited for (`patience.hasten`)."""

    seed: str
    count: int = 200
    asking: float = 100
    breaking: float = 110
    kill_every: float = 1.0
    hurry: bool = False
    longest_wait: float = 600
    doors: Sequence[str] = orders.DOORS


@dataclass(slots=True)
class Outcome:
    account: Account
    done: Done
    asked: list[Asked]


async def run(chaos: Chaos, info: StackInfo, ground: Ground, say: Callable[[str], None]) -> Outcome:
    """Ask, break, wait, audit."""
    ground.gate.dice.seed(f"{chaos.seed} table")
    planned = orders.plan(chaos.seed, chaos.count, chaos.asking, chaos.doors)
    async with Callers(info, chaos.seed) as callers:
        asking = _ask_all(planned, callers)
        faults = Faults(info, ground.gate, callers.requests, chaos.seed, chaos.kill_every)
        async with faults:
            await _while_half_is_called(chaos, info, asking, faults.done, say)
        say("no more faults; waiting for what was accepted to end")
        with Patience(info, callers=lambda: sum(not task.done() for task in asking)) as patience:
            hurry = (lambda: faults.done.killed) if chaos.hurry else None
            pending = await patience.wait(chaos.longest_wait, say, hurry=hurry)
        if not pending.nothing:
            for task in asking:
                task.cancel()
        asked = [each for task in asking for each in await _told(task)]
    say("all ended; looking at everything" if pending.nothing else f"given up waiting: {pending}")
    found = await asyncio.to_thread(evidence.gather, info, progress=say)
    some = [job for job in found.jobs.values() if job.status == "succeeded" and job.images][:ASKED_FOR]
    await asyncio.to_thread(evidence.ask_for_images, info, some)
    await ground.sweep()
    left = await asyncio.to_thread(evidence.blobs, info)
    account = audit.audit(asked, found, after_sweep=left, again=ground.calls_again)
    if not pending.nothing:
        account.violations.append(f"not at its end after {chaos.longest_wait:g} s: {pending}")
    return Outcome(account, faults.done, asked)


def _ask_all(planned: Sequence[orders.Order], callers: Callers) -> list[asyncio.Task[list[Asked]]]:
    async def one(order: orders.Order) -> list[Asked]:
        await asyncio.sleep(order.at)
        return [await callers.ask(order)]

    async def batch(members: list[orders.Order]) -> list[Asked]:
        await asyncio.sleep(members[0].at)
        return await callers.ask_batch(members)

    single = [asyncio.create_task(one(order)) for order in planned if order.door != "batches"]
    return single + [asyncio.create_task(batch(members)) for members in orders.batches(planned)]


async def _told(task: asyncio.Task[list[Asked]]) -> list[Asked]:
    try:
        return await task
    except asyncio.CancelledError:
        return []  # a caller who still waits when patience ends; what it asked for shows as not ended


async def _while_half_is_called(
    chaos: Chaos, info: StackInfo, asking: Sequence[asyncio.Task[list[Asked]]], done: Done, say: Callable[[str], None]
) -> None:
    """For `chaos.breaking` seconds, and longer where so little came through that nothing would be shown."""
    began = said = time.monotonic()
    while True:
        calls = len(await asyncio.to_thread(ModelControl(info.model).calls))
        seconds = time.monotonic() - began
        enough = seconds >= chaos.breaking and calls >= chaos.count * ENOUGH_CALLS
        if enough or seconds >= chaos.breaking * LONGEST:
            return
        if time.monotonic() - said > 5:
            answered = sum(task.done() for task in asking)
            said = time.monotonic()
            say(f"{answered} of {len(asking)} callers answered, {calls} calls made, {len(done.killed)} workers killed")
        await asyncio.sleep(1)
