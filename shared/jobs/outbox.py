"""The outbox: ends of jobs that are still to be announced.

`JobStore.finish` puts an entry in here in the very transaction that ends a job, so no end goes unannounced. Who comes
in: the pipeline, right after a job's end, and the timer, for what the pipeline could not send. Sending is at least
once: the event's id is the same every time, and receivers drop what they had.

Rows of table `jobs`, partition `jobs`: `o:<due>:<job id>`, so that what is due is a range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.jobs.rows import Change, Clock, Row, RowChanged, RowExists, Rows, utc_now

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

PARTITION = "jobs"
_DUE = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """The end of `job_id`, to be announced from `due` (aware, UTC) on, after `tries` that did not succeed."""

    job_id: str
    due: datetime
    tries: int = 0

    @property
    def key(self) -> str:
        return f"o:{self.due.astimezone(UTC).strftime(_DUE)}:{self.job_id}"

    def row(self) -> Row:
        return {"PartitionKey": PARTITION, "RowKey": self.key, "job_id": self.job_id, "tries": self.tries}


class Outbox:
    """The `o:` rows of table `jobs`."""

    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self._clock = clock

    async def due(self, *, limit: int = 100) -> list[OutboxEntry]:
        """What is due by now, oldest first, at most `limit`."""
        now = self._clock().astimezone(UTC).strftime(_DUE)
        # `;` follows `:`, so this range ends behind the last id of this very moment.
        return [_entry(row) async for row in self._rows.between(PARTITION, "o:", f"o:{now};", limit=limit)]

    async def sent(self, entry: OutboxEntry) -> None:
        """Take the entry out; one that is out already is as good."""
        await self._rows.delete(PARTITION, entry.key)

    async def postpone(self, entry: OutboxEntry, due: datetime) -> OutboxEntry | None:
        """Put the entry off until `due`, one try more; None when it is gone: sent, or put off by another sender.

        Also the way to take an entry before sending it: of several senders, one gets it.
        """
        due = max(due, entry.due + timedelta(microseconds=1))  # A row is not deleted and inserted in one transaction.
        later = replace(entry, due=due, tries=entry.tries + 1)
        try:
            await self._rows.commit([Change("delete", entry.row()), Change("insert", later.row())])
        except (RowChanged, RowExists):
            # Perhaps our own transaction, whose answer was lost; `due` differs between senders by microseconds.
            return later if await self._rows.get(PARTITION, later.key) else None
        return later


def _entry(row: Row) -> OutboxEntry:
    _, due, job_id = str(row["RowKey"]).split(":")
    return OutboxEntry(job_id, datetime.strptime(due, _DUE).replace(tzinfo=UTC), int(row["tries"]))
