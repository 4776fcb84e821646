"""Cancelling: a queued job is never called; a running one stops at its next safe point.

A call that was already sent cannot be taken back: its job ends as canceled with the images that came and what they
cost.
"""

from __future__ import annotations

from shared.errors import DarkroomError
from shared.jobs.job import Job, Status, new_runner
from shared.jobs.store import ClaimOutcome
from shared.pipeline import ending
from shared.pipeline.rooms import rooms


async def cancel(job: Job) -> Job:
    """Cancel `job`; the job as it is then: canceled, or running with the wish noted. Raises `job_ended`."""
    if job.ended:
        raise DarkroomError("job_ended", f"The job has ended already: {job.status}.", param="id")
    room = await rooms()
    job = await room.store.request_cancel(job.id)
    if job.status is not Status.QUEUED:
        return job  # its runner sees the wish with the next renewal of its lease, or before it calls
    claim = await room.store.claim(job.id, new_runner())
    if claim.outcome is not ClaimOutcome.CLAIMED or claim.job is None:
        return claim.job or job  # a runner was faster, and sees the wish
    async with room.store.hold(claim.job) as lease:
        await ending.end(room, lease, Status.CANCELED)
        return lease.job
