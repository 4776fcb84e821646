"""Which job a request that may come twice belongs to: the first wins, later ones are told whose it is.

Who comes in: the pipeline, before it writes what a claim is for. The row is written before the job, so a crash between
the two leaves a claim whose job is unknown: the next such request creates the job, with the id that is here.

Rows of table `idempotency`: partition = owner (escaped, it may hold any character); row = sha256 of the caller's key,
or `repeat:<request hash>` for callers that send none and only say that they repeat (`pipeline.repeats`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from shared.jobs.rows import (
    CONFLICT_TRIES,
    Clock,
    Row,
    RowChanged,
    RowExists,
    Rows,
    back_off,
    escape_key,
    from_text,
    storage_unavailable,
    to_text,
    utc_now,
)

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient


@dataclass(frozen=True, slots=True)
class Own:
    """The key is the caller's, who goes on with `job_id`."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Existing:
    """The key was there: it belongs to `job_id` since `created_at`. `same`: for the same request."""

    job_id: str
    same: bool
    created_at: datetime
    etag: str = field(default="", compare=False, repr=False)


def row_of_key(key: str) -> str:
    """The row key of a caller's key, which may be any text. A job keeps it as `idempotency`."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def row_of_repeats(request_hash: str) -> str:
    """The row key of the last request of this content; no key's row is called so."""
    return f"repeat:{request_hash}"


class Idempotency:
    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self.clock = clock

    async def claim(self, owner: str, key: str, request_hash: str, job_id: str) -> Own | Existing:
        """Bind `key` of `owner` to `job_id`, unless it is bound. `job_id` must be new: of this claim alone."""
        return await self.claim_row(owner, row_of_key(key), request_hash, job_id)

    async def claim_row(self, owner: str, row: str, request_hash: str, job_id: str) -> Own | Existing:
        """`claim` of the row `row_of_key` or `row_of_repeats`."""
        try:
            await self._rows.insert(self._row(owner, row, request_hash, job_id))
        except RowExists:
            existing = await self.find(owner, row, request_hash)
            if existing is None:
                raise storage_unavailable("an idempotency row came and went") from None
            return Own(job_id) if existing.job_id == job_id else existing  # Our own, whose answer was lost.
        return Own(job_id)

    async def find(self, owner: str, row: str, request_hash: str) -> Existing | None:
        found = await self._rows.get(escape_key(owner), row)
        return None if found is None else _existing(*found, request_hash)

    async def rebind(self, owner: str, row: str, existing: Existing, request_hash: str, job_id: str) -> bool:
        """Bind the row to `job_id` instead of what `existing` says; False when another was faster."""
        try:
            await self._rows.replace(self._row(owner, row, request_hash, job_id), existing.etag)
        except RowChanged:
            now = await self.find(owner, row, request_hash)
            return now is not None and now.job_id == job_id  # Our own, whose answer was lost.
        return True

    async def bind(self, owner: str, row: str, request_hash: str, job_id: str) -> None:
        """Bind the row to `job_id`, whatever it was bound to."""
        for _ in range(CONFLICT_TRIES):
            claim = await self.claim_row(owner, row, request_hash, job_id)
            if isinstance(claim, Own) or await self.rebind(owner, row, claim, request_hash, job_id):
                return
            await back_off()
        raise storage_unavailable("an idempotency row kept changing")

    async def forget(self, owner: str, row: str, job_id: str) -> None:
        """Take the row away with `job_id`, what it was bound to; one that is bound to another by now stays."""
        partition = escape_key(owner)
        found = await self._rows.get(partition, row)
        if found is not None and found[0]["job_id"] == job_id:
            await self._rows.delete_unchanged(partition, row, found[1])

    def _row(self, owner: str, row: str, request_hash: str, job_id: str) -> Row:
        return {
            "PartitionKey": escape_key(owner),
            "RowKey": row,
            "job_id": job_id,
            "request_hash": request_hash,
            "created_at": to_text(self.clock()),
        }


def _existing(row: Row, etag: str, request_hash: str) -> Existing:
    created_at = from_text(row["created_at"])
    assert created_at is not None, "every claim has a time"
    return Existing(row["job_id"], row["request_hash"] == request_hash, created_at, etag)
