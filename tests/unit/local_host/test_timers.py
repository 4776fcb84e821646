"""Timer triggers: when they fire and what they are told."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.host.invocations import InvocationError, Value
from local.host.schedules import EverySoOften, parse_schedule
from local.host.timers import Timer

YEARLY = parse_schedule("0 0 0 1 1 *")
OFTEN = EverySoOften(timedelta(milliseconds=5))


class Runs:
    """What a timer's function was told, each time."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: asyncio.Queue[dict] = asyncio.Queue()
        self._fails = fails

    async def __call__(self, value: Value) -> None:
        self.told.put_nowait(json.loads(value["json"]))
        if self._fails:
            raise InvocationError("failed on purpose")


async def test_a_timer_fires_again_and_again_and_says_when_next() -> None:
    runs = Runs()
    timer = Timer("often", OFTEN, runs)
    timer.start()
    async with asyncio.timeout(10):
        first, second = await runs.told.get(), await runs.told.get()
    await timer.stop()
    assert first["IsPastDue"] is False
    assert second["ScheduleStatus"]["Last"] > first["ScheduleStatus"]["Last"]


async def test_a_timer_goes_on_after_its_function_failed() -> None:
    runs = Runs(fails=True)
    timer = Timer("often", OFTEN, runs)
    timer.start()
    async with asyncio.timeout(10):
        await runs.told.get()
        await runs.told.get()
    await timer.stop()


async def test_run_on_startup_fires_at_once() -> None:
    runs = Runs()
    timer = Timer("yearly", YEARLY, runs, run_on_startup=True)
    timer.start()
    async with asyncio.timeout(10):
        assert (await runs.told.get())["IsPastDue"] is False
    await timer.stop()


async def test_an_occurrence_missed_while_the_host_was_down_is_made_up_for(tmp_path: Path) -> None:
    state = tmp_path / "yearly.json"
    state.write_text(json.dumps({"last": None, "next": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}))
    runs = Runs()
    timer = Timer("yearly", YEARLY, runs, remember=state)
    timer.start()
    async with asyncio.timeout(10):
        assert (await runs.told.get())["IsPastDue"] is True
    await timer.stop()


async def test_a_timer_with_nothing_missed_waits_for_its_time(tmp_path: Path) -> None:
    state = tmp_path / "timers" / "yearly.json"
    runs = Runs()
    for _ in range(2):
        timer = Timer("yearly", YEARLY, runs, remember=state)
        timer.start()
        await asyncio.sleep(0)  # the timer comes as far as its own sleep
        await timer.stop()
    assert runs.told.empty()
    assert datetime.fromisoformat(json.loads(state.read_text())["next"]) > datetime.now(UTC)
