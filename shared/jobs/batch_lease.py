"""A runner's hold on the work of a batch, renewed while it makes jobs or cancels them.

Who comes in: the pipeline, `async with BatchLease(store, work) as lease`, after `BatchStore.take`. However it ends, the
work is given free for the next message; only a runner that was killed leaves that to the lease's end.

Two runners at one batch would do no harm to its rows, which move under If-Match; but both would write the sources of
the same jobs, and a source may have changed in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from shared.errors import DarkroomError
from shared.jobs.batch import Work
from shared.jobs.batches import BatchStore
from shared.jobs.job import LEASE, Job
from shared.jobs.lease import MARGIN, RENEW_EVERY, RETRY_EVERY
from shared.jobs.outbox import OutboxEntry

_log = logging.getLogger(__name__)


class BatchLease:
    """See above. `work` is the newest that is known of the batch's work."""

    def __init__(
        self,
        store: BatchStore,
        work: Work,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work = work
        self._store = store
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._over = False
        self._renewals: asyncio.Task[None] | None = None
        self._renewed()

    async def __aenter__(self) -> Self:
        self._renewals = asyncio.create_task(self._renew(), name=f"lease of batch {self.work.batch_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewals is not None:
            self._renewals.cancel()
            await asyncio.gather(self._renewals, return_exceptions=True)
        if not self._over:
            with contextlib.suppress(DarkroomError):  # then it is free when its time is over
                await self._store.release(self.work)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return self._over

    def check(self) -> None:
        """Raise `lease_lost` unless the work is this runner's for another 10 s at least."""
        if self._monotonic() >= self._safe_until:
            raise DarkroomError("lease_lost", "The lease of this batch could not be renewed.")

    async def make(self, jobs: Sequence[Job], *, due: datetime) -> tuple[OutboxEntry, ...]:
        """Write the next jobs (`BatchStore.make`). Whether they were made, `work.made` says."""
        async with self._lock:
            self.check()
            self.work, entries = await self._store.make(self.work, jobs, due=due)
            self._renewed()
            return entries

    async def done(self) -> None:
        """What was asked for is done, and the work `over`, unless a cancel was asked for meanwhile."""
        async with self._lock:
            self.check()
            left = await self._store.done(self.work)
            self.work, self._over = left or self.work, left is None

    def _renewed(self) -> None:
        self._safe_until = self._monotonic() + (LEASE - MARGIN).total_seconds()

    async def _renew(self) -> None:
        pause = RENEW_EVERY
        while not self._over:
            await self._sleep(pause)
            try:
                async with self._lock:
                    if not self._over:
                        self.work = await self._store.renew(self.work)
                        self._renewed()
                pause = RENEW_EVERY
            except DarkroomError as error:
                _log.warning("Batch %s: its lease was not renewed (%s); trying again.", self.work.batch_id, error.code)
                pause = RETRY_EVERY
