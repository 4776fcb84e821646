"""The outbox: ends of jobs and batches that are still to be told.

`JobStore.finish` puts entries in here in the very transaction that ends a job, so no end goes untold: one for the
event, one for the callback where the request names one, one for the batch whose last job this was. Who comes in: the
pipeline, right after a job's end, and the timer, for what the pipeline could not send. Sending is at least once: ids
are the same every time, and receivers drop what they had.

Rows of table `jobs`, partition `jobs`: `o:<due>:<id>` for the event, `o:<due>:<id>:<what>` for the others, so that what
is due is a range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.jobs.rows import Change, Clock, Row, RowChanged, RowExists, Rows, utc_now

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

PARTITION = "jobs"
_DUE = "%Y%m%dT%H%M%S%fZ"


class UndeliverableError(Exception):
    """Nobody will ever take this: its entry leaves the outbox. The message is for the log."""


class What(StrEnum):
    """What is to be sent."""

    EVENT = "event"
    CALLBACK = "callback"
    BATCH = "batch"
    """The event of a batch; the entry's `job_id` is the batch's."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """The end of `job_id`, to be told from `due` (aware, UTC) on, after `tries` that did not succeed."""

    job_id: str
    due: datetime
    tries: int = 0
    what: What = What.EVENT

    @property
    def key(self) -> str:
        event = f"o:{self.due.astimezone(UTC).strftime(_DUE)}:{self.job_id}"
        return event if self.what is What.EVENT else f"{event}:{self.what}"

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
    _, due, job_id, *what = str(row["RowKey"]).split(":")
    when = datetime.strptime(due, _DUE).replace(tzinfo=UTC)
    return OutboxEntry(job_id, when, int(row["tries"]), What(what[0]) if what else What.EVENT)
