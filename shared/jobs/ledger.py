"""The ledger: one row for every call to a model, written before the call, settled after it.

Who comes in: the pipeline. It is the account of what may have been paid for, so a row is never deleted with its job and
never says less than was once known: what a call was billed stays, even if a later runner only knows that it is unknown.

Rows of table `ledger`, partition `yyyymmdd` (UTC day of the call), row `<job>-<call>`. The call's number comes from the
job's row (`Job.calls`), where it was counted under If-Match before the call: a job refused twice and answered once has
three rows, and the runner that takes a job over finds the row of the call its predecessor died in.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shared.images.pricing import Cost
from shared.jobs.job import ANY_ID, Job
from shared.jobs.rows import (
    CONFLICT_TRIES,
    Clock,
    Mark,
    Row,
    RowChanged,
    RowExists,
    Rows,
    back_off,
    storage_unavailable,
    to_text,
    utc_now,
)

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

type Fact = str | int | bool | None

_USAGE_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_MAX_USAGE_TEXT = 8_000
_SUMMED = ("outcome", "model", "deployment", "owner", *_USAGE_COUNTS, "images", "amount", "currency", "possibly_billed")
_PAGE_ROWS = 250  # taking a page apart holds up the event loop: some 10 ms at this size


class Outcome(StrEnum):
    """What is known of a call."""

    STARTED = "started"
    """It was about to be sent."""
    BILLED = "billed"
    """It was answered with images."""
    REFUSED = "refused"
    """The service refused it: nothing to pay."""
    UNKNOWN = "unknown"
    """It was sent and perhaps billed."""
    VOID = "void"
    """It never left this machine."""


_SETTLED = frozenset({Outcome.BILLED, Outcome.REFUSED, Outcome.VOID})


@dataclass(frozen=True, slots=True)
class Started:
    """A row as `start` wrote it, for `settle` to replace unread."""

    row: Row
    etag: str


class Ledger:
    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self._clock = clock

    async def start(self, job: Job, *, model: str, facts: Mapping[str, Fact]) -> Started | None:
        """Write the row of the call that `job` (after `begin_call`) is about to make. None where it was there: written
        by this, and the answer lost.

        `facts` are columns of their own, for sums by them: `n`, `size`, `quality` and the like. No prompt.
        """
        row = {**facts, **_key(job), **_call(job), "model": model, "outcome": Outcome.STARTED}
        try:
            return Started(row, await self._rows.insert(row))
        except RowExists:
            return None  # Our own, whose answer was lost: no other call has this number.

    async def find(self, job: Job) -> tuple[Outcome, str | None] | None:
        """What is known of the call `job` was in: its outcome and error code; None when its row was never written, and
        so nothing was sent."""
        key = _key(job)
        found = await self._rows.get(key["PartitionKey"], key["RowKey"])
        return None if found is None else (Outcome(found[0]["outcome"]), found[0].get("error_code"))

    async def of_day(self, day: date, *, owner: str | None = None) -> AsyncIterator[Row]:
        """The calls that began on `day` (UTC), of one owner where one is given: the columns that sums are made of, page
        by page."""
        where = {} if owner is None else {"owner": owner}
        mark: Mark | None = None
        while True:
            page = await self._rows.page(
                partition_of(day), *ANY_ID, size=_PAGE_ROWS, where=where, select=_SUMMED, after=mark
            )
            for row in page.rows:
                yield row
            if page.next is None:
                return
            mark = page.next

    async def settle(
        self,
        job: Job,
        outcome: Outcome,
        *,
        usage: Mapping[str, Any] | None = None,
        cost: Cost | None = None,
        possibly_billed: Cost | None = None,
        images: int | None = None,
        request_id: str | None = None,
        error_code: str | None = None,
        started: Started | None = None,
    ) -> Outcome:
        """Write what became of the call, and return what the row says then.

        `job` is the job as it was during the call. The row is read first, unless it is as `started` has it. Settling
        again is harmless: what is billed, refused or void stays; `unknown` may still become one of them. A row that was
        never started is written whole.
        """
        priced = cost or possibly_billed
        what = {
            "outcome": outcome,
            "settled_at": to_text(self._clock()),
            **_usage(usage),
            "amount": str(cost.amount) if cost else None,
            "currency": priced.currency if priced else None,
            "possibly_billed": str(possibly_billed.amount) if possibly_billed else None,
            "images": images,
            "request_id": request_id,
            "error_code": error_code,
        }
        key = _key(job)
        found = (started.row, started.etag) if started else None
        for number in range(CONFLICT_TRIES):
            if number or found is None:
                found = await self._rows.get(key["PartitionKey"], key["RowKey"])
            try:
                if found is None:
                    await self._rows.insert({**key, **_call(job), **what})
                    return outcome
                row, etag = found
                known = Outcome(row["outcome"])
                if known in _SETTLED or known is outcome:
                    return known
                await self._rows.replace({**row, **what}, etag)
            except (RowChanged, RowExists):
                await back_off()
                continue
            return outcome
        raise storage_unavailable("a ledger row kept changing")


def partition_of(day: date) -> str:
    """The partition of the calls that began on `day` (UTC)."""
    return day.strftime("%Y%m%d")


def _key(job: Job) -> dict[str, str]:
    return {"PartitionKey": partition_of(_started(job)), "RowKey": f"{job.id}-{job.calls}"}


def _call(job: Job) -> Row:
    return {
        "job_id": job.id,
        "call": job.calls,
        "attempt": job.attempt,
        "kind": job.kind,
        "door": job.door,
        "owner": job.owner,
        "batch": job.batch,
        "deployment": job.deployment,
        "region": job.region,
        "started_at": to_text(_started(job)),
    }


def _started(job: Job) -> datetime:
    if job.call_started_at is None:
        raise ValueError("a job without a call under way has no ledger row")
    return job.call_started_at.astimezone(UTC)


def _usage(usage: Mapping[str, Any] | None) -> Row:
    """The counts as columns, and the whole as JSON while it is of a sane size: it comes from outside."""
    if usage is None:
        return {}
    counts = {name: usage[name] for name in _USAGE_COUNTS if _is_count(usage.get(name))}
    text = json.dumps(usage)
    return {**counts, "usage": text if len(text) <= _MAX_USAGE_TEXT else None}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
