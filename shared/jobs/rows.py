"""Rows of Table Storage: what this room does with them, and its own words for what can go wrong.

Who comes in: the other modules of this room, each with the client of its table. A condition that failed is a
`RowChanged` or a `RowExists` here, whether it failed alone or inside a transaction; storage that does not answer is
`storage_unavailable`. Times are kept as text of one width (`2026-11-22T12:00:14.123456Z`), so that they sort as text
and read the same in every SDK.

A write whose answer got lost is sent again, by the SDK (PUT, DELETE, 5xx) or here (inserts and transactions, which
are POSTs, cut on the way). The second one may meet the first: callers see `RowChanged` or `RowExists` and have to
look whether the row is the one they wrote.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from shared.errors import DarkroomError

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

type Row = Mapping[str, Any]
type Clock = Callable[[], datetime]

_LOST_ANSWER_TRIES = 3
_TRANSACTION_ROWS = 100
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
# Rows change under us only when another door or instance moves the same job; each conflict means that one got through.
CONFLICT_TRIES = 20


class RowChanged(Exception):  # noqa: N818 - a fact about the row, not a failure
    """The row is not what the caller read: changed since, or gone."""


class RowExists(Exception):  # noqa: N818
    """A row of this key is there already."""


class MarkRefused(Exception):  # noqa: N818
    """The service does not take this mark as the place to go on from."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def to_text(time: datetime | None) -> str | None:
    """`time` (aware) as text that sorts by time; None stays None, which a row does not hold."""
    return None if time is None else time.astimezone(UTC).strftime(_TIME)


def from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def escape_key(text: str) -> str:
    """`text` as a key: anything but letters, digits and `_.-~` as `=XX` of its UTF-8, one key for one text.

    Keys may not hold `/ \\ # ?` nor control characters, and `%` is trouble in URLs
    (https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
    """
    return quote(text, safe="", errors="surrogatepass").replace("%", "=")


async def back_off() -> None:
    """A moment of random length, so that those who met do not meet again at once."""
    await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads load, guards nothing


def storage_unavailable(what: str) -> DarkroomError:
    return DarkroomError("storage_unavailable", f"Table Storage did not answer as it should: {what}.")


@dataclass(frozen=True, slots=True)
class Change:
    """One operation of a transaction. A `replace` is held to `etag`, and a `delete` where it has one; else a
    `delete` only asks that the row is there."""

    kind: Literal["insert", "replace", "delete"]
    row: Row
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The service's own mark of where a query goes on, opaque (`x-ms-continuation-NextPartitionKey`, `-NextRowKey`)."""

    partition: str
    row: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a query. A filter may leave it short, or empty, with more to come behind `next`."""

    rows: tuple[Row, ...]
    next: Mark | None


class Rows:
    """One table. Every row is a mapping with `PartitionKey` and `RowKey`; None values are not stored."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def get(self, partition: str, key: str) -> tuple[Row, str] | None:
        """The row and its ETag; None when there is none."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            row = await _ask(lambda: self._table.get_entity(partition, key))
        except ResourceNotFoundError as error:
            _refuse_missing_table(error)
            return None
        return row, str(row.metadata["etag"])

    async def insert(self, row: Row) -> str:
        """Write a new row and return its ETag; raises `RowExists`."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        try:
            answer = await _ask(lambda: self._table.create_entity(_stored(row)))
        except ResourceExistsError as error:
            raise RowExists from error
        except ResourceNotFoundError as error:
            raise storage_unavailable("the table does not exist") from error
        return str(answer["etag"])

    async def replace(self, row: Row, etag: str) -> str:
        """Put `row` in the place of the one with `etag` and return the new ETag; raises `RowChanged`."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
        from azure.data.tables import UpdateMode

        try:
            answer = await _ask(
                lambda: self._table.update_entity(
                    _stored(row),
                    mode=UpdateMode.REPLACE,
                    etag=etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            )
        except ResourceNotFoundError as error:
            _refuse_missing_table(error)
            raise RowChanged from error
        except ResourceModifiedError as error:
            raise RowChanged from error
        return str(answer["etag"])

    async def delete(self, partition: str, key: str) -> None:
        """Delete the row; one that is gone already is as good."""
        await _ask(lambda: self._table.delete_entity(partition, key))

    async def delete_unchanged(self, partition: str, key: str, etag: str) -> bool:
        """Delete the row if it is still the one with `etag`; whether it is gone."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError

        try:
            await _ask(
                lambda: self._table.delete_entity(
                    partition, key, etag=etag, match_condition=MatchConditions.IfNotModified
                )
            )
        except ResourceModifiedError:
            return False
        return True

    async def delete_range(self, partition: str, low: str, high: str) -> None:
        """Delete all rows with `low` <= RowKey < `high`, page by page."""
        mark: Mark | None = None
        while True:
            page = await self.page(partition, low, high, size=1000, select=("PartitionKey", "RowKey"), after=mark)
            for some in itertools.batched(page.rows, _TRANSACTION_ROWS, strict=False):
                keys = [{"PartitionKey": partition, "RowKey": str(row["RowKey"])} for row in some]
                try:
                    await self.commit([Change("delete", key) for key in keys])
                except RowChanged:  # one is gone by now, and the transaction fails with it
                    for key in keys:
                        await self.delete(partition, key["RowKey"])
            if page.next is None:
                return
            mark = page.next

    async def commit(self, changes: Sequence[Change]) -> list[str | None]:
        """All of `changes` (same partition) or none, and the new ETags; raises `RowChanged` or `RowExists`."""
        from azure.core.exceptions import HttpResponseError

        try:
            answers = await _ask(lambda: self._table.submit_transaction([_operation(change) for change in changes]))
        except HttpResponseError as error:
            if error.status_code == 409:
                raise RowExists from error
            if error.status_code in (404, 412):
                _refuse_missing_table(error)
                raise RowChanged from error
            raise storage_unavailable(f"HTTP {error.status_code} to a transaction") from error
        return [answer.get("etag") for answer in answers]

    async def between(self, partition: str, low: str, high: str, *, limit: int | None = None) -> AsyncIterator[Row]:
        """The rows with `low` <= RowKey < `high`, by RowKey, at most `limit`, read page by page."""
        from azure.core.exceptions import AzureError

        query = _range(partition, low, high)
        found = 0
        try:
            async for row in self._table.query_entities(query, results_per_page=min(limit or 1000, 1000)):
                yield row
                found += 1
                if found == limit:
                    return
        except AzureError as error:
            raise storage_unavailable(f"{_facts(error)} to a query") from error

    async def page(
        self,
        partition: str,
        low: str,
        high: str,
        *,
        size: int,
        where: Mapping[str, str] | None = None,
        select: Sequence[str] = (),
        after: Mark | None = None,
    ) -> Page:
        """The next rows with `low` <= RowKey < `high` whose columns are as `where` says, at most `size`: one request.

        With `select` only those columns. Wherever a mark points, the range and `where` hold: they are asked for anew
        with each page. Raises `MarkRefused`.
        """
        from azure.core.exceptions import AzureError

        query = _range(partition, low, high) + "".join(
            f" and {column} eq '{_quoted(value)}'" for column, value in (where or {}).items()
        )
        pages = self._table.query_entities(query, results_per_page=size, select=list(select) or None).by_page(
            {"PartitionKey": after.partition, "RowKey": after.row} if after else None  # type: ignore[arg-type]
        )
        try:
            rows = tuple([row async for row in await anext(pages)])
        except AzureError as error:
            if after is not None and getattr(error, "status_code", None) == 400:
                raise MarkRefused from error
            raise storage_unavailable(f"{_facts(error)} to a query") from error
        following: Any = pages.continuation_token  # type: ignore[attr-defined]
        return Page(rows, Mark(following["PartitionKey"] or "", following["RowKey"]) if following else None)


def _range(partition: str, low: str, high: str) -> str:
    return f"PartitionKey eq '{_quoted(partition)}' and RowKey ge '{_quoted(low)}' and RowKey lt '{_quoted(high)}'"


def _stored(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _operation(change: Change) -> tuple[str, dict[str, Any], dict[str, Any]]:
    from azure.core import MatchConditions
    from azure.data.tables import UpdateMode

    condition = {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
    if change.kind == "replace":
        return "update", _stored(change.row), {"mode": UpdateMode.REPLACE, **condition}
    if change.kind == "delete":
        return "delete", _stored(change.row), condition if change.etag else {}
    return "create", _stored(change.row), {}


async def _ask[T](call: Callable[[], Awaitable[T]]) -> T:
    """Await `call()`; repeat it when its answer was lost. Refusals (4xx) pass as the SDK's own errors."""
    from azure.core.exceptions import AzureError, HttpResponseError

    for attempt in range(1, _LOST_ANSWER_TRIES + 1):
        try:
            return await call()
        except AzureError as error:
            status = error.status_code if isinstance(error, HttpResponseError) else None
            if status in (404, 409, 412):
                raise
            if (status is not None and status < 500) or attempt == _LOST_ANSWER_TRIES:
                raise storage_unavailable(_facts(error)) from error
        await back_off()
    raise AssertionError("unreachable")


def _refuse_missing_table(error: Any) -> None:
    # The SDK's code is an enumeration here and a plain text there; both equal the text.
    if getattr(error, "error_code", None) == "TableNotFound":
        raise storage_unavailable("the table does not exist") from error


def _facts(error: Exception) -> str:
    """Status and kind of an SDK error. Not its text: that can hold URLs and what was sent."""
    status = getattr(error, "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


def _quoted(key: str) -> str:
    return key.replace("'", "''")
