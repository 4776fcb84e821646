"""Work at a batch, by a message of queue `image-batches`: its requests become jobs, or its jobs are canceled.

1. Take the batch's work, under a lease; a message that finds somebody at it, or nothing to do, is done with.
2. Some requests at a time: their ids are claimed, their sources and requests stored, then their jobs written in one
   transaction with how far the batch is, then their messages sent. A request that cannot be run is a failed job.
3. A cancel, whenever it comes, ends the making; what was made is canceled job by job.
4. The blob of the requests goes: each job has its own by now, and may be purged.
5. After a few minutes a run sends itself another message, so that no batch is too long for one run of a function.

Whoever repeats any of this finds what was done: each request is one job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.batch_lease import BatchLease
from shared.jobs.batches import MOST_AT_ONCE, batch_of
from shared.jobs.job import Job, Status, new_id, new_runner
from shared.jobs.queue import parse_message
from shared.pipeline import accept, announce, batch_jobs, cancel, ending, observing
from shared.pipeline.batches import REQUESTS
from shared.pipeline.rooms import Rooms, rooms
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT
from shared.platform.lines import split

log = logging.getLogger("darkroom")

BUDGET = timedelta(minutes=4)
"""How long one run works before another goes on: far below the function's timeout."""
POISONED = timedelta(minutes=5)
"""How long a batch rests whose messages failed too often, which only storage that is away can be the reason of."""
_STORED_AT_ONCE = 8
_ASKED_AT_ONCE = 16
_ENDED_AT_ONCE = 4
"""Each end moves the row of the batch: more of them at once would mostly wait for each other."""


async def deliver(body: bytes) -> None:
    """Do what a message asks for. Raises what storage raises: the message then comes back."""
    batch_id = _batch_of(body)
    if batch_id is not None:
        await work_at(batch_id)


async def rest(body: bytes) -> None:
    """Send the message of a batch again, later: a batch that was accepted is not given up."""
    batch_id = _batch_of(body)
    if batch_id is not None:
        log.warning("the message of batch %s failed too often; it rests for %s", batch_id, POISONED)
        await (await rooms()).batch_queue.submit(batch_id, POISONED.total_seconds())


async def work_at(batch_id: str, *, budget: timedelta = BUDGET) -> None:
    room = await rooms()
    work = await room.batches.take(batch_id, new_runner())
    if work is None:
        log.info("batch %s needs nothing here", batch_id)
        return
    try:
        async with BatchLease(room.batches, work) as lease:
            await _Run(room, lease, time.monotonic() + budget.total_seconds()).go()
    except DarkroomError as error:
        if error.code != "lease_lost":
            raise
        log.info("batch %s is another runner's now", batch_id)
        return
    if not lease.over:
        await room.batch_queue.submit(batch_id)


def _batch_of(body: bytes) -> str | None:
    with suppress(DarkroomError):
        if batch_id := batch_of(parse_message(body)):
            return batch_id
    log.warning("a message of queue image-batches names no batch and is passed over")
    return None


@dataclass(slots=True)
class _Run:
    room: Rooms
    lease: BatchLease
    until: float
    """By the monotonic clock."""

    async def go(self) -> None:
        while self._time_is_left() and not self.lease.over:
            if await (self._cancel_made() if self.lease.work.canceling else self._make()):
                await self.room.files(self.lease.work.folder).discard()
                await self.lease.done()

    def _time_is_left(self) -> bool:
        return time.monotonic() < self.until

    # -- requests become jobs --------------------------------------------------------------------------------------

    async def _make(self) -> bool:
        """Whether all requests are jobs; False when time is over, or a cancel was asked for."""
        batch = await self.room.store.batch(self.lease.work.batch_id)
        if batch is None:
            return True  # retention was faster, so it had ended
        async with aclosing(self._requests()) as requests:
            while (work := self.lease.work).made < work.total:
                if work.canceling or not self._time_is_left():
                    return False
                await self._step(batch, requests)
        return True

    async def _requests(self) -> AsyncGenerator[bytes | None]:
        """The stored requests that are no jobs yet; None in the place of each that is missing."""
        work = self.lease.work
        stored = self.room.files(work.folder).read_source(REQUESTS)
        number = 0
        try:
            async with aclosing(split(stored)) as lines:
                async for line in lines:
                    number += 1
                    if number > work.made:
                        yield line
        except DarkroomError as error:
            if error.code in NOT_THE_JOBS_FAULT:
                raise
            log.error("the stored requests of batch %s are missing", work.batch_id)
        for _ in range(max(number, work.made), work.total):
            yield None

    async def _step(self, batch: Batch, requests: AsyncIterator[bytes | None]) -> None:
        start, now = self.lease.work.made, datetime.now(UTC)
        number = min(MOST_AT_ONCE, batch.total - start)
        # Ids sort the newest first: a millisecond apart, a batch's jobs do so by the order of their requests.
        fresh = [new_id(now + timedelta(milliseconds=place)) for place in range(number)]
        ids = await self.room.batches.claim(batch.id, start, fresh)
        lines = [await anext(requests) for _ in ids]
        jobs = await _at_once(
            _STORED_AT_ONCE,
            [partial(self._prepared, batch, job_id, line) for job_id, line in zip(ids, lines, strict=True)],
        )
        entries = await self.lease.make(jobs, due=ending.first_retry())
        if self.lease.work.made == start:
            return  # canceled meanwhile
        await _at_once(_STORED_AT_ONCE, [partial(accept.send, self.room, job.id) for job in jobs if not job.ended])
        for job in jobs:
            if job.ended:
                log.info("job %s ended: failed (%s)", job.id, (job.error or {}).get("code"))
                observing.ended(job, (job.error or {}).get("code"))
        await _at_once(_STORED_AT_ONCE, [partial(announce.first_tries, self.room, (entry,)) for entry in entries])

    async def _prepared(self, batch: Batch, job_id: str, line: bytes | None) -> Job:
        self.lease.check()
        return await batch_jobs.prepare(self.room, batch, job_id, line, check=self.lease.check)

    # -- jobs are canceled -----------------------------------------------------------------------------------------

    async def _cancel_made(self) -> bool:
        """Whether all jobs that were made have ended or know of the wish; False when time is over.

        All are told first, so that no more of them call the model, then those that wait are ended.
        """
        work = self.lease.work
        claimed = await self.room.batches.children(work.batch_id)
        made = [job_id for index, job_id in claimed.items() if index < work.made]
        told = await _at_once(_ASKED_AT_ONCE, [partial(self._tell, job_id) for job_id in made])
        ended = await _at_once(_ENDED_AT_ONCE, [partial(self._end, job_id) for job_id in made])
        never = [job_id for index, job_id in claimed.items() if index >= work.made]
        await _at_once(_STORED_AT_ONCE, [self.room.files(job_id).discard for job_id in never])
        await self.room.batches.forget(work.batch_id, work.made)
        return all(told) and all(ended)

    async def _tell(self, job_id: str) -> bool:
        self.lease.check()
        if self._time_is_left():
            with _already_so():
                await self.room.store.request_cancel(job_id)
            return True
        return False

    async def _end(self, job_id: str) -> bool:
        self.lease.check()
        if not self._time_is_left():
            return False
        job = await self.room.store.get(job_id)
        if job is not None and job.status is Status.QUEUED:
            with _already_so():
                await cancel.cancel(job)
        return True


@contextmanager
def _already_so() -> Iterator[None]:
    """A job that has ended, or that retention has taken away, needs no cancel."""
    try:
        yield
    except DarkroomError as error:
        if error.code not in ("job_ended", "not_found"):
            raise


async def _at_once[T](limit: int, calls: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """The answers of `calls`, at most `limit` of them under way. All are over when the first failure is raised."""
    turn = asyncio.Semaphore(limit)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with turn:
            return await call()

    done = await asyncio.gather(*map(one, calls), return_exceptions=True)
    if failed := [answer for answer in done if isinstance(answer, BaseException)]:
        raise failed[0]
    return [answer for answer in done if not isinstance(answer, BaseException)]
