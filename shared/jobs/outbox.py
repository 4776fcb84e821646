"""The outbox: ends of jobs and batches that are still to be told.

`JobStore.finish` puts entries in here in the very transaction that ends a job, so no end goes untold: one for the
event, one for the callback where the request names one, one for the batch whose last job this was. Who comes in: the
pipeline, right after a job's end, and the timer, for what the pipeline could not send. Sending is at least once: ids
are the same every time, and receivers drop what they had.

Rows of table `jobs`, partition `jobs`: `o:<due>:<id>` for the event, `o:<due>:<id>:<what>` for the others, so that what
is due is a range. `d:<due>:<id>:<subscription>` tells a subscription of an end; these may be many, and have a range of
their own for no event to wait behind them. How many there are is not known when a job ends: they are put here before
its event is sent, and the event's row says how far that is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING

from shared.jobs.rows import Change, Clock, Row, RowChanged, RowExists, Rows, utc_now

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

PARTITION = "jobs"
_DUE = "%Y%m%dT%H%M%S%fZ"
_DELIVERIES_AT_ONCE = 99  # and the event's row: a transaction has at most 100


class UndeliverableError(Exception):
    """Nobody will ever take this: its entry leaves the outbox. The message is for the log."""


class What(StrEnum):
    """What is to be sent."""

    EVENT = "event"
    CALLBACK = "callback"
    BATCH = "batch"
    """The event of a batch; the entry's `job_id` is the batch's."""
    DELIVERY = "delivery"
    """An ended job for one subscription."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """The end of `job_id`, to be told from `due` (aware, UTC) on, after `tries` that did not succeed.

    `subscription` is a delivery's. `told`, of an event, is the greatest id of the subscriptions that have theirs.
    """

    job_id: str
    due: datetime
    tries: int = 0
    what: What = What.EVENT
    subscription: str = ""
    told: str = ""
    etag: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        end = f"{self.due.astimezone(UTC).strftime(_DUE)}:{self.job_id}"
        if self.what is What.DELIVERY:
            return f"d:{end}:{self.subscription}"
        return f"o:{end}" if self.what is What.EVENT else f"o:{end}:{self.what}"

    def row(self) -> Row:
        key = {"PartitionKey": PARTITION, "RowKey": self.key}
        return {**key, "job_id": self.job_id, "tries": self.tries, "told": self.told or None}


class Outbox:
    """The `o:` and `d:` rows of table `jobs`."""

    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self._clock = clock

    async def due(self, *, limit: int = 100) -> list[OutboxEntry]:
        """What is due by now but deliveries, oldest first, at most `limit`."""
        return await self._due("o", limit)

    async def due_deliveries(self, *, limit: int = 100) -> list[OutboxEntry]:
        """The deliveries that are due by now, oldest first, at most `limit`."""
        return await self._due("d", limit)

    async def hand_out(
        self, event: OutboxEntry, subscriptions: Iterable[str], due: datetime
    ) -> tuple[OutboxEntry, ...]:
        """Put a delivery for each of `subscriptions` beside `event`, due at `due`; those that were put there by this.

        Each is put there once, however often this is repeated with the same or fewer subscriptions. Where the event is
        another sender's by now, the rest is left to that one.
        """
        made: list[OutboxEntry] = []
        for some in batched(
            sorted(one for one in subscriptions if one > event.told), _DELIVERIES_AT_ONCE, strict=False
        ):
            after = replace(event, told=some[-1])
            entries = [OutboxEntry(event.job_id, due, what=What.DELIVERY, subscription=one) for one in some]
            if not await self._handed_out(after, entries):
                break
            made += entries
        return tuple(made)

    async def _handed_out(self, event: OutboxEntry, entries: list[OutboxEntry]) -> bool:
        found = await self._rows.get(PARTITION, event.key)
        if found is None:
            return False
        inserts = [Change("insert", entry.row()) for entry in entries]
        try:
            await self._rows.commit([Change("replace", event.row(), found[1]), *inserts])
        except (RowChanged, RowExists):
            # Perhaps our own transaction, whose answer was lost: a key has one sender, others have put it off first.
            found = await self._rows.get(PARTITION, event.key)
            return found is not None and _entry(found[0]).told == event.told
        return True

    async def sent(self, entry: OutboxEntry) -> None:
        """Take the entry out; one that is out already is as good."""
        await self._rows.delete(PARTITION, entry.key)

    async def postpone(self, entry: OutboxEntry, due: datetime) -> OutboxEntry | None:
        """Put the entry off until `due`, one try more; None when it is gone: sent, or put off by another sender.

        Also the way to take an entry before sending it: of several senders, one gets it.
        """
        due = max(due, entry.due + timedelta(microseconds=1))  # A row is not deleted and inserted in one transaction.
        later = replace(entry, due=due, tries=entry.tries + 1, etag=None)
        try:
            await self._rows.commit([Change("delete", entry.row(), entry.etag), Change("insert", later.row())])
        except (RowChanged, RowExists):
            # Perhaps our own transaction, whose answer was lost; `due` differs between senders by microseconds.
            return later if await self._rows.get(PARTITION, later.key) else None
        return later

    async def _due(self, kind: str, limit: int) -> list[OutboxEntry]:
        now = self._clock().astimezone(UTC).strftime(_DUE)
        # `;` follows `:`, so this range ends behind the last id of this very moment.
        found = self._rows.between(PARTITION, f"{kind}:", f"{kind}:{now};", limit=limit)
        return [_entry(row) async for row in found]


def _entry(row: Row) -> OutboxEntry:
    kind, due, job_id, *rest = str(row["RowKey"]).split(":")
    when = datetime.strptime(due, _DUE).replace(tzinfo=UTC)
    end = OutboxEntry(job_id, when, int(row["tries"]), etag=str(row.metadata["etag"]))  # type: ignore[attr-defined]
    if kind == "d":
        return replace(end, what=What.DELIVERY, subscription=rest[0])
    return replace(end, what=What(rest[0]) if rest else What.EVENT, told=str(row.get("told") or ""))
