"""The set of worker processes: n copies of the app, each restarted when it dies.

`host.py` starts and stops the set; the HTTP door takes the next worker from it, each queue listener belongs to one of
its slots, as a platform that scales out would have it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from local.host.process import IndexingError, WorkerLostError, WorkerProcess

_BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE_SECONDS = 1.0

log = logging.getLogger("host.workers")

type Starter = Callable[[str], Coroutine[Any, Any, WorkerProcess]]


class Slot:
    """The place of one worker: the process in it changes when one dies. `label` is `worker 1` and so on."""

    def __init__(self, number: int, start: Starter) -> None:
        self.label = f"worker {number}"
        self.worker: WorkerProcess | None = None
        self._start = start
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failures = 0

    async def start(self) -> WorkerProcess:
        """Start the first process of this slot, then keep one running. Raises IndexingError and WorkerLostError."""
        worker = await self._start(self.label)
        self._enter(worker)
        self._keeper = asyncio.create_task(self._keep(worker))
        return worker

    async def running(self) -> WorkerProcess:
        """The slot's process, waiting for it to be started again if need be."""
        while self.worker is None:
            await self._up.wait()
        return self.worker

    @property
    def is_up(self) -> bool:
        """Whether a process stands ready at this moment."""
        return self.worker is not None

    async def stop(self) -> None:
        """End the process and start no other."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.worker is not None:
            await self.worker.stop()
            self._leave()

    async def _keep(self, worker: WorkerProcess) -> None:
        while True:
            started = time.monotonic()
            code = await worker.ended()
            self._leave()
            self._failures = 0 if time.monotonic() - started > _STABLE_SECONDS else self._failures + 1
            log.error("%s (process %d) ended with code %d and is started again.", self.label, worker.pid, code)
            await worker.stop()
            worker = await self._restart()
            self._enter(worker)

    async def _restart(self) -> WorkerProcess:
        while True:
            # The first restart is at once; a process that dies again and again is given time.
            await asyncio.sleep(_BACK_OFF[min(max(self._failures - 1, 0), len(_BACK_OFF) - 1)])
            try:
                return await self._start(self.label)
            except IndexingError as error:
                log.error("%s: the app does not load. %s", self.label, error)
            except (WorkerLostError, OSError) as error:
                log.error("%s did not start: %s", self.label, error)
            self._failures += 1

    def _enter(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self._up.set()

    def _leave(self) -> None:
        self.worker = None
        self._up.clear()


class Workers:
    """All slots, and whose turn it is."""

    def __init__(self, count: int, start: Starter) -> None:
        self.slots = [Slot(number, start) for number in range(1, count + 1)]
        self._turn = 0

    async def start(self) -> WorkerProcess:
        """Start every slot and return one worker, for its report of the app. Raises IndexingError, WorkerLostError."""
        starting = [asyncio.ensure_future(slot.start()) for slot in self.slots]
        try:
            return (await asyncio.gather(*starting))[0]
        except BaseException:
            await asyncio.gather(*starting, return_exceptions=True)
            await self.stop()
            raise

    def next(self) -> Slot:
        """The slot whose turn it is, preferring those whose process is up."""
        for _ in self.slots:
            self._turn = (self._turn + 1) % len(self.slots)
            if self.slots[self._turn].is_up:
                break
        return self.slots[self._turn]

    async def stop(self) -> None:
        """End every process."""
        await asyncio.gather(*(slot.stop() for slot in self.slots))
