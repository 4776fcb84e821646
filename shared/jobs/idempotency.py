"""Which job a caller's key belongs to: the first request with it wins, later ones are told whose it is.

Who comes in: the pipeline, before it writes a job that has a key. The row is written before the job, so a crash between
the two leaves a key whose job is unknown: the next request with that key creates the job, with the id that is here.

Rows of table `idempotency`: partition = owner (escaped, it may hold any character), row = sha256 of the key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from shared.jobs.rows import Clock, RowExists, Rows, escape_key, from_text, storage_unavailable, to_text, utc_now

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


class Idempotency:
    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self._clock = clock

    async def claim(self, owner: str, key: str, request_hash: str, job_id: str) -> Own | Existing:
        """Bind `key` of `owner` to `job_id`, unless it is bound. `job_id` must be new: of this claim alone."""
        partition, row_key = escape_key(owner), hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        row = {
            "PartitionKey": partition,
            "RowKey": row_key,
            "job_id": job_id,
            "request_hash": request_hash,
            "created_at": to_text(self._clock()),
        }
        try:
            await self._rows.insert(row)
        except RowExists:
            found = await self._rows.get(partition, row_key)
            if found is None:
                raise storage_unavailable("an idempotency row came and went") from None
            existing, _ = found
            if existing["job_id"] == job_id:
                return Own(job_id)  # Our own, whose answer was lost.
            created_at = from_text(existing["created_at"])
            assert created_at is not None
            return Existing(existing["job_id"], existing["request_hash"] == request_hash, created_at)
        return Own(job_id)
