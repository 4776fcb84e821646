"""The last move of a job, and its announcement."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from shared.errors import DarkroomError
from shared.jobs.job import Status
from shared.jobs.lease import Lease
from shared.pipeline import announce
from shared.pipeline.rooms import Rooms

log = logging.getLogger("darkroom")


async def end(room: Rooms, lease: Lease, status: Status, error: DarkroomError | None = None) -> None:
    """End the job and announce it. The end and its outbox row are one transaction; then the event is tried once."""
    due = datetime.now(UTC) + announce.FIRST_RETRY
    job, entry = await lease.finish(status, error=error.to_row() if error else None, due=due)
    log.info("job %s ended: %s", job.id, job.status)
    await announce.announce(room, job, entry)


async def fail(room: Rooms, lease: Lease, error: DarkroomError) -> None:
    """End the job as failed, or as canceled when that is what `error` says."""
    if error.code == "canceled":
        await end(room, lease, Status.CANCELED)
    else:
        await end(room, lease, Status.FAILED, error)
