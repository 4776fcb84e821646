"""A runner's hold on a job, renewed while it works.

Who comes in: the pipeline, `async with store.hold(job) as lease`, after a claim. The lease keeps the newest copy of the
job, so that the renewals and the runner's own writes do not undo or obstruct each other, and tells the runner when to
stop: a cancel was asked for, or the lease can no longer be called its own.

Every write of the lease renews it: a write under If-Match that got through is proof that nobody took the job over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from shared.errors import DarkroomError
from shared.jobs.job import LEASE, Job, Phase, Status

if TYPE_CHECKING:
    from shared.jobs.outbox import OutboxEntry
    from shared.jobs.store import JobStore

RENEW_EVERY = 20.0
RETRY_EVERY = 2.0
# A renewal that hangs is given up and tried anew: the SDK's own patience is longer than the lease.
RENEW_TIMEOUT = 10.0
MARGIN = timedelta(seconds=10)
_PASSING = frozenset({"storage_unavailable"})

_log = logging.getLogger(__name__)


class Lease:
    """See above. `interrupted` is set when a cancel was seen or the lease is lost: time to look at `check()`."""

    def __init__(
        self,
        store: JobStore,
        job: Job,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if job.lease_owner is None or job.lease_until is None:
            raise ValueError("a job without a lease cannot be held")
        self.job = job
        self.interrupted = asyncio.Event()
        self._store = store
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._renewals: asyncio.Task[None] | None = None
        self._lost = False
        self._over = False
        # Two clocks: the wall clock is what others compare the row with, but it can be set back.
        self._safe_until = monotonic() + (job.lease_until - MARGIN - store.clock()).total_seconds()

    async def __aenter__(self) -> Self:
        self._notice(self.job)
        self._renewals = asyncio.create_task(self._renew(), name=f"lease of {self.job.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewals is not None:
            self._renewals.cancel()
            await asyncio.gather(self._renewals, return_exceptions=True)

    @property
    def cancel_requested(self) -> bool:
        return self.job.cancel_requested

    def safe(self) -> bool:
        """Whether the lease is this runner's for another 10 s at least: only then may it send anything."""
        until = self.job.lease_until
        return (
            not self._lost
            and until is not None
            and self._store.clock() < until - MARGIN
            and self._monotonic() < self._safe_until
        )

    def check(self) -> None:
        """Raise `lease_lost` unless `safe()`, and `canceled` when that was asked for and no call is under way."""
        if not self.safe():
            raise DarkroomError("lease_lost", "The lease of this job could not be renewed.")
        if self.cancel_requested and self.job.phase is Phase.WAITING:
            raise DarkroomError("canceled", "The job was canceled.")

    async def patiently[T](
        self, work: Callable[[], Awaitable[T]], pauses: Iterable[float], passing: Container[str] = _PASSING
    ) -> T:
        """What `work` gives, done again after each of `pauses` (seconds) while it fails with a code in `passing` and
        the lease is safe. It has to bear being done twice: only the answer may have been lost."""
        for pause in pauses:
            try:
                return await work()
            except DarkroomError as error:
                if error.code not in passing or not self.safe():
                    raise
            await self._sleep(pause)
        return await work()

    async def update(self, **changes: Any) -> Job:
        return await self._do(lambda: self._store.update(self.job, **changes))

    async def begin_call(self, deployment: str, region: str | None = None) -> Job:
        return await self._do(lambda: self._store.begin_call(self.job, deployment, region))

    async def uncount_call(self) -> Job:
        return await self._do(lambda: self._store.uncount_call(self.job))

    async def give_back(
        self, *, wake_at: datetime, slot_at: datetime | None = None, deployment: str | None = None
    ) -> Job:
        """Queue the job again; the lease is over with it."""
        return await self._do(
            lambda: self._store.give_back(self.job, wake_at=wake_at, slot_at=slot_at, deployment=deployment),
            last=True,
        )

    async def finish(
        self, status: Status, *, error: Mapping[str, Any] | None = None, due: datetime | None = None
    ) -> tuple[Job, tuple[OutboxEntry, ...]]:
        """End the job; the lease is over with it. What is to be told of it comes with it, its event first."""
        told: tuple[OutboxEntry, ...] = ()

        async def end() -> Job:
            nonlocal told
            job, told = await self._store.finish(self.job, status, error=error, due=due)
            return job

        return await self._do(end, last=True), told

    async def _do(self, write: Callable[[], Awaitable[Job]], *, last: bool = False) -> Job:
        async with self._lock:
            if self._over:
                raise DarkroomError("lease_lost", "This runner ended the job or gave it back.")
            started = self._monotonic()
            try:
                self.job = await write()
            except DarkroomError as error:
                if error.code in ("lease_lost", "job_ended"):
                    self._lost = True
                    self.interrupted.set()
                raise
            self._over = self._over or last
            self._safe_until = started + (LEASE - MARGIN).total_seconds()
            self._notice(self.job)
            return self.job

    def _notice(self, job: Job) -> None:
        if job.cancel_requested:
            self.interrupted.set()

    def _done(self) -> bool:
        return self._over or self._lost

    async def _renew(self) -> None:
        pause = RENEW_EVERY
        while True:
            await self._sleep(pause)
            if self._done():
                return
            try:
                async with asyncio.timeout(RENEW_TIMEOUT):
                    await self.update()
                pause = RENEW_EVERY
            except Exception as error:  # noqa: BLE001 - whatever it is, the lease must go on being renewed
                if self._done():
                    return
                code = error.code if isinstance(error, DarkroomError) else type(error).__name__
                _log.warning("Job %s: its lease was not renewed (%s); trying again.", self.job.id, code)
                pause = RETRY_EVERY
