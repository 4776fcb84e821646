"""The last move of a job, and its announcement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Door, Job, Status, new_job, new_runner
from shared.jobs.lease import Lease
from shared.pipeline import announce, observing
from shared.pipeline.rooms import Rooms
from shared.platform import tracing

log = logging.getLogger("darkroom")


def first_retry() -> datetime:
    """When the event of a job that ends now is sent again, should the first try fail."""
    return datetime.now(UTC) + announce.FIRST_RETRY


async def end(
    room: Rooms,
    lease: Lease,
    status: Status,
    error: DarkroomError | None = None,
    *,
    due: datetime | None = None,
    accepted: AcceptedRequest | None = None,
    result: Mapping[str, Any] | None = None,
) -> None:
    """End the job and tell of it. The end and its outbox rows are one transaction; then each is tried once. Where
    `accepted` and `result` are given they are what is stored, and are not read again to be told.

    Whoever repeats this after a failure passes the same `due`: it is part of the outbox rows' keys.
    """
    if status is not Status.FAILED:
        error = None
    job, entries = await lease.finish(status, error=error.to_row() if error else None, due=due or first_retry())
    why = f" ({error.code}{f', {error.inner}' if error.inner else ''})" if error else ""
    log.info("job %s ended: %s%s", job.id, job.status, why)
    observing.ended(job, error.code if error else None)
    await announce.first_tries(room, entries, announce.Ended(job, accepted, result))


async def fail(room: Rooms, lease: Lease, error: DarkroomError) -> None:
    """End the job as failed, or as canceled when that is what `error` says."""
    await end(room, lease, Status.CANCELED if error.code == "canceled" else Status.FAILED, error)


@tracing.traced("accept")
async def refuse(
    room: Rooms,
    job_id: str,
    error: DarkroomError,
    *,
    door: Door,
    owner: str,
    kind: str = "generate",
    idempotency: str = "",
) -> bool:
    """A failed job, with its event, for what came by a door without an answer and can be no job: its sender learns why.

    Safe to repeat under the same id, whatever was written before. False, and nothing done, when that is a request which
    was accepted: what came twice may be refused the second time, its source being gone by then.
    """
    job: Job = await room.store.create(
        new_job(
            kind=kind,
            door=door,
            owner=owner,
            now=datetime.now(UTC),
            id=job_id,
            idempotency=idempotency,
            runner=new_runner(),
            traceparent=tracing.current(),
        )
    )
    if job.request_hash:  # only accepted requests have one
        return False
    if not job.ended:
        async with room.store.hold(job) as lease:
            await fail(room, lease, error)
    return True
