"""The job document (design section 3): what the job API answers and what events carry."""

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

    `accepted` is None for a job whose stored request was lost. `result` is the stored result of a job whose images
    (all, or those that arrived) were kept.
    """
    result = result or {}
    request = accepted.request if accepted else None
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
        "attempts": job.attempts,
        "deployment": job.deployment,
        "region": job.region,
        "adapted": [dict(entry) for entry in request.adapted] if request else [],
        "request": accepted.public(job.id) if accepted else {},
        "images": [{**image, "url": f"{blob_base}/{image['blob']}"} for image in result.get("images", [])],
        "usage": result.get("usage"),
        "cost": result.get("cost"),
        "error": errors.public(dict(job.error)) if job.error else None,
        "metadata": dict(request.metadata) if request else {},
        "links": {"self": f"{job_base}/{job.id}", "cancel": f"{job_base}/{job.id}"},
    }


def timestamp(moment: datetime | None) -> str | None:
    """A time as documents, sidecars and health show it: UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
