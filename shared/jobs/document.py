"""The job document (design section 3): what the job API answers and what events carry; and its short form in lists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared import errors
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job


def build(
    job: Job, accepted: AcceptedRequest | None, result: Mapping[str, Any] | None, *, blob_base: str, job_base: str
) -> dict[str, Any]:
    """The document of `job`, its image URLs unsigned (`blob_base` and the blob's name).

    `accepted` is None for a job whose stored request was lost or purged. `result` is the stored result of a job whose
    images (all, or those that arrived) were kept.
    """
    result = result or {}
    request = accepted.request if accepted else None
    return {
        **summary(job, job_base=job_base),
        "adapted": [dict(entry) for entry in request.adapted] if request else [],
        "request": accepted.public(job.id) if accepted else {},
        "images": [_linked(image, blob_base) for image in result.get("images", [])],
        "usage": result.get("usage"),
        "cost": result.get("cost"),
        "metadata": dict(request.metadata) if request else {},
    }


def _linked(image: Mapping[str, Any], blob_base: str) -> dict[str, Any]:
    """An image, or one that was derived of it, with its address."""
    more = {"derived": [_linked(one, blob_base) for one in image["derived"]]} if "derived" in image else {}
    return {**image, **more, "url": f"{blob_base}/{image['blob']}"}


def summary(job: Job, *, job_base: str) -> dict[str, Any]:
    """What the row of `job` alone says: its entry in a list, and the beginning of its document."""
    purged = {"purged_at": timestamp(job.purged_at)} if job.purged_at else {}
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status.value,
        "phase": job.phase.value if job.phase else None,
        "owner": job.owner,
        "batch": job.batch,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        **purged,
        "attempts": job.attempts,
        "deployment": job.deployment,
        "region": job.region,
        "error": errors.public(dict(job.error)) if job.error else None,
        "links": {"self": f"{job_base}/{job.id}", "cancel": f"{job_base}/{job.id}"},
    }


def timestamp(moment: datetime | None) -> str | None:
    """A time as documents, sidecars and health show it: UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
