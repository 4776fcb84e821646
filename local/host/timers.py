"""Timer triggers. One host is one singleton: a timer runs once, however many workers there are.

`host.py` starts one `Timer` for each timer function. With a state directory the last and next times survive the host,
so that an occurrence missed while it was down is made up for at start, with `IsPastDue` (ScheduleMonitor in the timer
extension of Azure does the same, from a blob).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.host.invocations import InvocationError, Value, jsonable
from local.host.process import WorkerLostError
from local.host.schedules import Schedule

_LATE = timedelta(seconds=1)
_LONGEST_SLEEP_SECONDS = 60.0

log = logging.getLogger("host.timer")

type Run = Callable[[Value], Awaitable[None]]


class Timer:
    """One timer function. `remember` is the file of its state, or None to keep it in memory only."""

    def __init__(
        self, name: str, schedule: Schedule, run: Run, *, run_on_startup: bool = False, remember: Path | None = None
    ) -> None:
        self.name, self._schedule, self._run = name, schedule, run
        self._run_on_startup, self._file = run_on_startup, remember
        self._last: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep time."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Fire no more. A running invocation is the worker's and goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        missed = self._recall()
        if missed is not None or self._run_on_startup:
            await self._fire(missed or datetime.now(UTC), is_past_due=missed is not None)
        while True:
            due = self._schedule.next_after(max(datetime.now(UTC), self._last or datetime.min.replace(tzinfo=UTC)))
            self._remember(due)
            await _sleep_until(due)
            await self._fire(due, is_past_due=datetime.now(UTC) - due > _LATE)

    async def _fire(self, due: datetime, *, is_past_due: bool) -> None:
        try:
            await self._run(jsonable(self.information(due, is_past_due=is_past_due)))
        except (InvocationError, WorkerLostError):
            log.warning("Timer '%s' failed; it is tried again when it is due next.", self.name)
        self._last = due

    def information(self, due: datetime, *, is_past_due: bool) -> dict[str, Any]:
        """TimerInfo, as the extension serialises it."""
        last = self._last.isoformat() if self._last else "0001-01-01T00:00:00"
        status = {"Last": last, "Next": self._schedule.next_after(due).isoformat(), "LastUpdated": last}
        return {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": is_past_due}

    def _recall(self) -> datetime | None:
        """The occurrence that went by while no host was there, if one did."""
        if self._file is None or not self._file.is_file():
            return None
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            self._last = datetime.fromisoformat(state["last"]) if state["last"] else None
            due = datetime.fromisoformat(state["next"])
        except (ValueError, KeyError, TypeError):
            return None
        return due if due < datetime.now(UTC) else None

    def _remember(self, due: datetime) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            state = {"last": self._last.isoformat() if self._last else None, "next": due.isoformat()}
            self._file.write_text(json.dumps(state), encoding="utf-8")


async def _sleep_until(due: datetime) -> None:
    """Sleep in short pieces: after a machine was suspended, its clock and a long sleep disagree."""
    while True:
        left = (due - datetime.now(UTC)).total_seconds()
        if left <= 0:
            return
        await asyncio.sleep(min(left, _LONGEST_SLEEP_SECONDS))
