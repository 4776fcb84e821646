"""Which folders of container `requests` belong to nothing: a request whose process was killed before its row was there.

Who comes in: the timer, by `pipeline.leftovers`. Folders are named by ids, and ids count down with time, so that those
of a span of time begin alike: what is listed and looked up is one such span after the other, each of them once. How
far they were is row `leftovers` of partition `timers` (table `jobs`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from shared.jobs.job import new_id
from shared.jobs.outbox import PARTITION
from shared.jobs.rows import Mark, RowChanged, RowExists, Rows

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

_CHARACTERS = 5
"""What the ids of one span begin with: 23 of the 48 bits of their time in ms, so that a span is 9.3 hours."""
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_CURSOR = ("timers", "leftovers")


def span_of(time: datetime) -> str:
    """The first characters of the ids of `time`."""
    return new_id(time)[:_CHARACTERS]


def after(span: str) -> str:
    """The span that follows, of ids made later."""
    value = int(span, 32) - 1
    return "".join(_ALPHABET[value >> 5 * place & 31] for place in reversed(range(_CHARACTERS)))


class Leftovers:
    """Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, table: TableClient) -> None:
        self._rows = Rows(table)

    async def known(self, span: str) -> set[str]:
        """The ids of the jobs and batches of a span; and the folders of all batches that are being worked at, which may
        be called otherwise."""
        found = {str(row["folder"]) async for row in self._rows.between(PARTITION, "n:", "n;")}
        for kind in ("j", "b"):
            mark: Mark | None = None
            while True:
                low, high = f"{kind}:{span}", f"{kind}:{span}{{"
                page = await self._rows.page(PARTITION, low, high, size=1000, select=("RowKey",), after=mark)
                found.update(str(row["RowKey"])[2:] for row in page.rows)
                if page.next is None:
                    break
                mark = page.next
        return found

    async def next_span(self) -> str | None:
        """The first span that was not looked at; None before the first run."""
        found = await self._rows.get(*_CURSOR)
        return None if found is None else str(found[0]["next"])

    async def done(self, span: str) -> None:
        """Note that `span` was looked at."""
        cursor = {"PartitionKey": _CURSOR[0], "RowKey": _CURSOR[1], "next": after(span)}
        found = await self._rows.get(*_CURSOR)
        try:
            await (self._rows.insert(cursor) if found is None else self._rows.replace(cursor, found[1]))
        except (RowChanged, RowExists):
            return  # another timer is at it
