"""A batch: what its row holds, and how an ended job counts in it. Pure: no storage, and no clock of its own.

Rows of table `jobs`: `b:<id>` of partition `jobs` is the batch; it stands beside its jobs, so that a job's end and the
batch's count are one transaction. Partition `<batch>` holds one row `c:<index>` for each job that was made of it, in
the order of the requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.jobs.job import Status
from shared.jobs.outbox import PARTITION
from shared.jobs.rows import Row, from_text, to_text

_COUNTS = ("total", "succeeded", "failed", "canceled")


class BatchStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of `total` requests. A job that ended is counted once, under its status; requests of a canceled batch
    that never became jobs are counted as canceled."""

    id: str
    owner: str
    created_at: datetime
    total: int
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    cancel_requested: bool = False
    finished_at: datetime | None = None
    idempotency: str = ""
    request_hash: str = ""
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
            "cancel_requested": self.cancel_requested,
            "finished_at": to_text(self.finished_at),
            "idempotency": self.idempotency,
            "request_hash": self.request_hash,
        }


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
        cancel_requested=row["cancel_requested"],
        finished_at=from_text(row.get("finished_at")),
        idempotency=row["idempotency"],
        request_hash=row["request_hash"],
        etag=etag,
    )
