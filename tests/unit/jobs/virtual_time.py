"""An event loop whose clock jumps to the next timer: minutes of waiting take no time, and no chance is involved."""

from __future__ import annotations

import asyncio
import selectors
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the time to it."""

    now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: a deadlock")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(main):
    """Run the coroutine from `START` on, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def clock() -> datetime:
    return START + timedelta(seconds=asyncio.get_running_loop().time())
