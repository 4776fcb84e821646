"""A job as a row of Table Storage: the two directions. Pure.

Who comes in: `store`, which moves jobs, `history`, which lists them, and `expiry`, which finds the old ones.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from shared.jobs.job import Door, Job, Phase, Status
from shared.jobs.outbox import PARTITION
from shared.jobs.rows import Row, from_text, to_text

_TIMES = (
    *("created_at", "started_at", "finished_at", "wake_at"),
    *("lease_until", "slot_at", "call_started_at", "purged_at"),
)


def row_of(job: Job) -> Row:
    row: dict[str, Any] = {"PartitionKey": PARTITION, "RowKey": f"j:{job.id}"}
    for entry in fields(Job):
        if entry.name != "etag":
            row[entry.name] = getattr(job, entry.name)
    for name in _TIMES:
        row[name] = to_text(row[name])
    row["token_hashes"] = ",".join(job.token_hashes)
    row["error"] = None if job.error is None else json.dumps(job.error)
    return row


def job_of(row: Row, etag: str | None = None) -> Job:
    """The job of a row. Properties this version does not know are left alone; a newer one may have written them."""
    values = {entry.name: row[entry.name] for entry in fields(Job) if entry.name in row}
    for name in _TIMES:
        values[name] = from_text(values.get(name))
    values["door"] = Door(values["door"])
    values["status"] = Status(values["status"])
    values["phase"] = Phase(values["phase"]) if values.get("phase") else None
    values["token_hashes"] = tuple(values.get("token_hashes", "").split(",")) if values.get("token_hashes") else ()
    values["error"] = json.loads(values["error"]) if values.get("error") else None
    return Job(**values, etag=etag)
