"""Purging an ended job: its request, sources, images and sidecars go, and what on its row may quote the prompt.

What stays: the row, which says that there was a job and how it ended; the ledger's rows; the bound idempotency key, so
that a late repeat is told and pays nothing.
"""

from __future__ import annotations

import asyncio

from shared.delivery.results import CONTAINER as RESULTS
from shared.delivery.results import folder as results_folder
from shared.errors import DarkroomError
from shared.jobs.files import CONTAINER as REQUESTS
from shared.jobs.job import Job
from shared.pipeline.rooms import rooms
from shared.platform import clients, folders


async def purge(job: Job) -> Job:
    """Purge `job`; the job as it is then. Raises `job_not_ended`, `storage_unavailable`.

    The row is marked first: from then on nobody is shown what is being removed, and a purge that was cut short is
    finished by asking again.
    """
    if not job.ended:
        raise DarkroomError(
            "job_not_ended", f"The job is {job.status}: only an ended one can be purged. Cancel it first.", param="id"
        )
    job = await (await rooms()).store.mark_purged(job.id)
    await remove_files(job)
    return job


async def remove_files(job: Job) -> None:
    """Delete every blob of `job`, those of all its attempts. Raises `storage_unavailable`."""
    await asyncio.gather(
        folders.remove(clients.blobs(), REQUESTS, job.id),
        folders.remove(clients.blobs(), RESULTS, results_folder(job.id, job.created_at)),
    )
