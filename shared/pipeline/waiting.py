"""Waiting for the end of a job that runs elsewhere: for a caller who joined it, or who would rather not poll.

Only the row is looked at, so any instance can wait for any job, and nothing is lost with whoever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from shared.errors import DarkroomError
from shared.jobs.job import Door, Job, Status
from shared.pipeline import recover, run
from shared.pipeline.rooms import Rooms, rooms

ASK_EVERY = 1.0


async def for_end(job: Job, deadline: datetime, has_left: Callable[[], Awaitable[bool]]) -> Job:
    """`job` when it has ended, or as it is at `deadline` or when the caller has left.

    A synchronous job whose runner died is settled by who waits for it: that takes no call to the model, and the timer
    would come up to a minute later.
    """
    room = await rooms()
    while not job.ended and (left := (deadline - datetime.now(UTC)).total_seconds()) > 0 and not await has_left():
        await asyncio.sleep(min(ASK_EVERY, left))
        with contextlib.suppress(DarkroomError):  # storage that does not answer is asked again
            job = await _now(room, job)
    return job


async def _now(room: Rooms, job: Job) -> Job:
    now = await room.store.get(job.id) or job
    if now.door is Door.HTTP and now.status is Status.RUNNING and recover.is_abandoned(now, room.store.clock()):
        await run.deliver(now.id)
        now = await room.store.get(job.id) or now
    return now
