"""What is too old to be kept, found by ranges of keys: ids count down, so all that is older than a moment is one range.

Who comes in: retention, which removes the blobs of what is found here, and then the rows by the methods of this class.

Rows of table `jobs`: `j:<id>` and `b:<id>` of partition `jobs`, what is in partition `<batch>`, and `f:<folder>` of
partition `uploads`, the folders that were handed out. Rows of table `ledger`: its partitions are days. How far the
days were removed is row `retention` of partition `timers` (table `jobs`), so that no day is looked at twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from shared.jobs import batch as batches
from shared.jobs import uploads
from shared.jobs.batch import Batch
from shared.jobs.job import ANY_ID, Job, first_id_before
from shared.jobs.ledger import partition_of
from shared.jobs.outbox import PARTITION
from shared.jobs.records import job_of
from shared.jobs.rows import Row, RowChanged, RowExists, Rows

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

_TIMERS, _CURSOR = "timers", "retention"
_DAY = "%Y%m%d"


class Expiry:
    """Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, jobs: TableClient, ledger: TableClient) -> None:
        self._rows = Rows(jobs)
        self._ledger = Rows(ledger)

    async def jobs(self, cutoff: datetime) -> AsyncIterator[Job]:
        """The jobs that ended before `cutoff`, those created last first. What lives is not among them, however old."""
        async for row in self._older("j", cutoff):
            job = job_of(row)
            if job.ended and job.finished_at is not None and job.finished_at < cutoff:
                yield job

    async def batches(self, cutoff: datetime) -> AsyncIterator[Batch]:
        """The batches whose last job ended before `cutoff`."""
        async for row in self._older("b", cutoff):
            batch = batches.from_row(row, "")
            if batch.finished_at is not None and batch.finished_at < cutoff:
                yield batch

    async def uploads(self, cutoff: datetime) -> AsyncIterator[str]:
        """The folders that were handed out before `cutoff`."""
        async for row in self._older("f", cutoff, partition=uploads.PARTITION):
            yield str(row["RowKey"]).removeprefix("f:")

    async def remove_job(self, job: Job) -> None:
        await self._rows.delete(PARTITION, f"j:{job.id}")

    async def remove_batch(self, batch: Batch) -> None:
        """The rows of partition `<batch>`, then the batch's own."""
        await self._rows.delete_range(batch.id, *ANY_ID)
        await self._rows.delete(PARTITION, batches.key(batch.id))

    async def remove_upload(self, folder: str) -> None:
        await self._rows.delete(uploads.PARTITION, uploads.row_key(folder))

    async def ledger_days(self, cutoff: datetime, *, reach: timedelta) -> AsyncIterator[date]:
        """The days of the ledger that ended before `cutoff` and were not removed yet, the oldest first; at most
        `reach` back from `cutoff`.

        It stops at the first day on which a job began that still lives: whoever takes such a job over finds in the
        ledger whether its call was sent.
        """
        day = (cutoff - reach).astimezone(UTC).date()
        if (kept := await self.ledger_from()) is not None:
            day = max(day, kept)
        while end_of(day) <= cutoff and not await self._lives_from_before(end_of(day)):
            yield day
            day += timedelta(days=1)

    async def ledger_from(self) -> date | None:
        """The first day that is kept: those before it were removed. None while no day was."""
        found = await self._rows.get(_TIMERS, _CURSOR)
        return None if found is None else datetime.strptime(found[0]["ledger_from"], _DAY).replace(tzinfo=UTC).date()

    async def remove_ledger_day(self, day: date) -> None:
        """The rows of `day`, then the cursor moves behind it."""
        await self._ledger.delete_range(partition_of(day), *ANY_ID)
        cursor = {
            "PartitionKey": _TIMERS,
            "RowKey": _CURSOR,
            "ledger_from": (day + timedelta(days=1)).strftime(_DAY),
        }
        found = await self._rows.get(_TIMERS, _CURSOR)
        try:
            await (self._rows.insert(cursor) if found is None else self._rows.replace(cursor, found[1]))
        except (RowChanged, RowExists):
            return  # another timer is at it: each of them moves the cursor over days that are empty

    async def _lives_from_before(self, moment: datetime) -> bool:
        async for _ in self._rows.between(PARTITION, f"l:{first_id_before(moment)}", "l;", limit=1):
            return True
        return False

    def _older(self, kind: str, cutoff: datetime, *, partition: str = PARTITION) -> AsyncIterator[Row]:
        return self._rows.between(partition, f"{kind}:{first_id_before(cutoff)}", f"{kind};")


def end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
