"""Jobs that nobody runs: their runner died, or the message that should have come back for them was lost.

Each is sent to the queue again; the delivery takes the job over, or finds that somebody has it after all.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from shared.jobs.job import Job, Status
from shared.jobs.store import TAKE_OVER_AFTER
from shared.pipeline import observing
from shared.pipeline.rooms import rooms
from shared.settings import settings

log = logging.getLogger("darkroom")

OVERDUE = timedelta(minutes=2)
"""How late a queued job's message may be before another is sent; a second message only finds the job taken."""


async def abandoned() -> int:
    """Send a message for every live job that nobody runs; how many there were."""
    room = await rooms()
    await observing.deployments(room, settings().deployments)
    now = datetime.now(UTC)
    found = 0
    async for job in room.store.live():
        if is_abandoned(job, now):
            found += 1
            log.warning("job %s is run by nobody; it is sent to the queue again", job.id)
            if job.status is Status.QUEUED:
                await room.store.woken(job.id, now)
            await room.queue.submit(job.id)
    return found


def is_abandoned(job: Job, now: datetime) -> bool:
    if job.status is Status.RUNNING:
        return job.lease_until is not None and now > job.lease_until + TAKE_OVER_AFTER
    return job.status is Status.QUEUED and now > (job.wake_at or job.created_at) + OVERDUE
