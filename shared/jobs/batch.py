"""A batch: what its rows hold, how an ended job counts in it, and its document. Pure: no storage, no clock of its own.

Rows of table `jobs`: `b:<id>` of partition `jobs` is the batch; it stands beside its jobs, so that a job's end and the
batch's count are one transaction. `batches` writes it, and the rows that say what is still to be done for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.jobs.document import timestamp
from shared.jobs.job import Status
from shared.jobs.outbox import PARTITION
from shared.jobs.rows import Row, from_text, to_text

TAKE_OVER_AFTER = timedelta(seconds=15)
OVERDUE = timedelta(minutes=2)
"""How late a batch's message may be before another is sent."""
_COUNTS = ("total", "succeeded", "failed", "canceled")


class BatchStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of `total` requests. A job that ended is counted once, under its status; requests of a canceled batch
    that never became jobs are counted as canceled. `sees_all` is what the caller may read, for sources that are looked
    at when the jobs are made. `folder` is where its requests are, in container `requests`. `metadata` is the batch's
    own pairs, `traceparent` the trace of the request that submitted it."""

    id: str
    owner: str
    created_at: datetime
    total: int
    folder: str = ""
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    cancel_requested: bool = False
    finished_at: datetime | None = None
    idempotency: str = ""
    request_hash: str = ""
    sees_all: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    traceparent: str = ""
    etag: str | None = None

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.canceled

    @property
    def status(self) -> BatchStatus:
        return BatchStatus.COMPLETED if self.finished_at else BatchStatus.RUNNING

    def counted(self, status: Status, now: datetime, number: int = 1) -> Batch:
        """The batch after `number` of its requests ended as `status`; finished `now` when these were the last."""
        after = replace(self, **{status.value: getattr(self, status.value) + number})
        return replace(after, finished_at=now) if after.ended >= after.total and not after.finished_at else after

    def row(self) -> Row:
        return {
            "PartitionKey": PARTITION,
            "RowKey": key(self.id),
            "id": self.id,
            "owner": self.owner,
            "created_at": to_text(self.created_at),
            **{name: getattr(self, name) for name in _COUNTS},
            "folder": self.folder,
            "cancel_requested": self.cancel_requested,
            "finished_at": to_text(self.finished_at),
            "idempotency": self.idempotency,
            "request_hash": self.request_hash,
            "sees_all": self.sees_all,
            "metadata": json.dumps(dict(self.metadata)),
            "traceparent": self.traceparent,
        }


@dataclass(frozen=True, slots=True)
class Work:
    """What is still to be done for a batch: make jobs of its requests from `made` on, or, `canceling`, cancel those
    that were made. `runner` does it until `until`; with nobody at it, `until` is when the message is overdue."""

    batch_id: str
    total: int
    folder: str
    until: datetime
    made: int = 0
    canceling: bool = False
    runner: str | None = None
    etag: str | None = None

    def free(self, now: datetime) -> bool:
        """Whether nobody is at it: the lease of a runner that ended or died is over, and some time has passed."""
        return self.runner is None or now >= self.until + TAKE_OVER_AFTER

    def overdue(self, now: datetime) -> bool:
        return self.free(now) and now >= self.until

    def row(self) -> Row:
        return {
            "PartitionKey": PARTITION,
            "RowKey": work_key(self.batch_id),
            "batch_id": self.batch_id,
            "total": self.total,
            "folder": self.folder,
            "until": to_text(self.until),
            "made": self.made,
            "canceling": self.canceling,
            "runner": self.runner,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], etag: str | None = None) -> Work:
        until = from_text(row["until"])
        assert until is not None, "work has a time"
        return cls(
            *(row["batch_id"], row["total"], row["folder"], until, row["made"], row["canceling"], row.get("runner")),
            etag,
        )


def work_key(batch_id: str) -> str:
    return f"n:{batch_id}"


def key(batch_id: str) -> str:
    return f"b:{batch_id}"


def from_row(row: Mapping[str, Any], etag: str) -> Batch:
    created_at = from_text(row["created_at"])
    assert created_at is not None, "every batch has a time of creation"
    return Batch(
        id=row["id"],
        owner=row["owner"],
        created_at=created_at,
        **{name: row[name] for name in _COUNTS},
        folder=row["folder"],
        cancel_requested=row["cancel_requested"],
        finished_at=from_text(row.get("finished_at")),
        idempotency=row["idempotency"],
        request_hash=row["request_hash"],
        sees_all=row["sees_all"],
        metadata=json.loads(row["metadata"]),
        traceparent=row.get("traceparent", ""),
        etag=etag,
    )


def document(batch: Batch, *, api: str) -> dict[str, Any]:
    """What the batch API answers and the event of a batch carries. `api` is the absolute URL of `/api`."""
    self = f"{api}/batches/{batch.id}"
    return {
        "id": batch.id,
        "status": batch.status.value,
        "owner": batch.owner,
        "created_at": timestamp(batch.created_at),
        "finished_at": timestamp(batch.finished_at),
        "cancel_requested": batch.cancel_requested,
        "counts": {
            "total": batch.total,
            "pending": max(batch.total - batch.ended, 0),
            "succeeded": batch.succeeded,
            "failed": batch.failed,
            "canceled": batch.canceled,
        },
        "metadata": dict(batch.metadata),
        "links": {"self": self, "jobs": f"{api}/jobs?batch={batch.id}", "cancel": self},
    }
