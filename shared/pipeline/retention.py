"""Retention: what ended longer ago than `RETENTION_DAYS` goes. The timer comes in here.

1. Jobs: their blobs, the idempotency rows bound to them, their row.
2. Batches: their blob and rows. Their jobs are jobs.
3. Folders handed out for uploads: their blobs, their row.
4. Days of the ledger.

Each row goes last, so that what a crash left undone is found again. A run ends after some minutes, whatever is left;
the next one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.files import CONTAINER as REQUESTS
from shared.jobs.job import Job
from shared.pipeline import purge
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import clients, folders
from shared.settings import settings

log = logging.getLogger("darkroom")

RUN_SECONDS = 240.0
"""How long one run goes on; it is hourly, and each hour's jobs take far less."""
LEDGER_REACH = timedelta(days=400)
"""How far before the cutoff the first run looks for days of the ledger."""
_AT_ONCE = 8
_MOST_FAILURES = 100
UPLOADS = "uploads"


@dataclass(slots=True)
class _Run:
    ends: float
    removed: dict[str, int] = field(default_factory=dict)
    failures: list[DarkroomError] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.ends or len(self.failures) >= _MOST_FAILURES

    async def each[T](self, what: str, found: AsyncIterator[T], remove: Callable[[T], Awaitable[None]]) -> None:
        """`remove` each of `found`, a few at a time; one that cannot be removed does not keep the others."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(item: T) -> None:
            try:
                await remove(item)
                self.removed[what] = self.removed.get(what, 0) + 1
            except DarkroomError as error:
                self.failures.append(error)
            finally:
                turn.release()

        async with asyncio.TaskGroup() as group:
            async for item in found:
                await turn.acquire()
                if self.over:
                    turn.release()
                    return
                group.create_task(one(item))


async def remove_expired(*, now: datetime | None = None, seconds: float = RUN_SECONDS) -> dict[str, int]:
    """Remove what is too old at `now`; how many of each there were. Does nothing while `RETENTION_DAYS` is not set.

    Raises the first failure, after all that could be removed was.
    """
    days = settings().retention_days
    if days is None:
        return {}
    cutoff = (now or datetime.now(UTC)) - timedelta(days=days)
    room = await rooms()
    run = _Run(time.monotonic() + seconds)
    await run.each("jobs", room.expiry.jobs(cutoff), lambda job: _remove_job(room, job))
    await run.each("batches", room.expiry.batches(cutoff), lambda batch: _remove_batch(room, batch))
    await run.each("uploads", room.expiry.uploads(cutoff), lambda folder: _remove_upload(room, folder))
    async for day in room.expiry.ledger_days(cutoff, reach=LEDGER_REACH):
        if run.over:
            break
        await room.expiry.remove_ledger_day(day)
        run.removed["ledger days"] = run.removed.get("ledger days", 0) + 1
    if run.removed:
        log.info("retention removed %s", ", ".join(f"{number} {what}" for what, number in run.removed.items()))
    if run.failures:
        raise run.failures[0]
    return run.removed


async def _remove_job(room: Rooms, job: Job) -> None:
    await purge.remove_files(job)
    if job.idempotency:
        await room.idempotency.forget(job.owner, job.idempotency, job.id)
    await room.expiry.remove_job(job)


async def _remove_batch(room: Rooms, batch: Batch) -> None:
    await folders.remove(clients.blobs(), REQUESTS, batch.id)
    if batch.idempotency:
        await room.idempotency.forget(batch.owner, batch.idempotency, batch.id)
    await room.expiry.remove_batch(batch)


async def _remove_upload(room: Rooms, folder: str) -> None:
    await folders.remove(clients.blobs(), UPLOADS, folder)
    await room.expiry.remove_upload(folder)
