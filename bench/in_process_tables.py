"""Table Storage in the process that asks it: what the SDK's table client does, to a dictionary.

Conditions hold and transactions are done whole or not at all
(https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions); what is refused is refused
with the SDK's own errors. Rows of what still runs are kept: a table forgets the rows that were not written for the
longest time, and only beyond 5,000 of them.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableEntity, TableTransactionError

KEPT_ROWS: Final = 5_000
_RANGE = re.compile(r"PartitionKey eq '(.*?)' and RowKey ge '(.*?)' and RowKey lt '(.*?)'(?: and (.*))?")
_COLUMN = re.compile(r"(\w+) eq '((?:[^']|'')*)'")

type Key = tuple[str, str]
type Operation = tuple[str, Mapping[str, Any], Mapping[str, Any]]


class Service:
    """The tables of an account; one is there as soon as it is asked for."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def get_table_client(self, name: str) -> Table:
        return self._tables.setdefault(name, Table())

    async def close(self) -> None:
        self._tables.clear()


class Table:
    def __init__(self) -> None:
        self._rows: OrderedDict[Key, tuple[Mapping[str, Any], str]] = OrderedDict()
        self._keys: list[Key] = []
        """Those of `_rows`, sorted."""
        self._versions = itertools.count(1)

    async def get_entity(self, partition_key: str, row_key: str) -> TableEntity:
        found = self._rows.get((partition_key, row_key))
        if found is None:
            raise _with_status(ResourceNotFoundError("there is no such row"), 404)
        return _entity(*found)

    async def create_entity(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        self._check(("create", entity, {}))
        return self._done(("create", entity, {}))

    async def update_entity(self, entity: Mapping[str, Any], **condition: Any) -> dict[str, Any]:
        self._check(("update", entity, condition))
        return self._done(("update", entity, condition))

    async def delete_entity(self, partition_key: str, row_key: str, **condition: Any) -> None:
        operation = ("delete", {"PartitionKey": partition_key, "RowKey": row_key}, condition)
        if (partition_key, row_key) in self._rows:  # the SDK takes one that is gone for a success
            self._check(operation)
            self._done(operation)

    async def submit_transaction(self, operations: Iterable[Operation]) -> list[dict[str, Any]]:
        asked = list(operations)
        for operation in asked:
            try:
                self._check(operation)
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
                refused = TableTransactionError(message=str(error))
                refused.status_code = error.status_code
                raise refused from error
        return [self._done(operation) for operation in asked]

    def query_entities(
        self, query_filter: str, *, results_per_page: int | None = None, select: Sequence[str] | None = None
    ) -> Query:
        del results_per_page  # all that there is comes as one page
        asked = _RANGE.fullmatch(query_filter)
        assert asked, "the range that `shared/jobs/rows.py` asks for"
        partition, low, high = (text.replace("''", "'") for text in asked.groups()[:3])
        columns = [(name, value.replace("''", "'")) for name, value in _COLUMN.findall(asked[4] or "")]
        begin, end = (bisect.bisect_left(self._keys, (partition, text)) for text in (low, high))
        found = [self._rows[key] for key in self._keys[begin:end]]
        return Query(
            [
                _entity(_selected(row, select), etag)
                for row, etag in found
                if all(row.get(name) == value for name, value in columns)
            ]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def _check(self, operation: Operation) -> None:
        """Raise what the service refuses `operation` with."""
        kind, row, condition = operation
        found = self._rows.get(_key(row))
        if kind == "create":
            if found is not None:
                raise _with_status(ResourceExistsError("there is such a row"), 409)
        elif found is None:
            raise _with_status(ResourceNotFoundError("there is no such row"), 404)
        elif condition.get("match_condition") is MatchConditions.IfNotModified and condition["etag"] != found[1]:
            raise _with_status(ResourceModifiedError("the row is another by now"), 412)

    def _done(self, operation: Operation) -> dict[str, Any]:
        kind, row, _ = operation
        key = _key(row)
        if kind == "delete":
            self._forget(key)
            return {}
        etag = f"W/\"datetime'{next(self._versions)}'\""
        if key not in self._rows:
            bisect.insort(self._keys, key)
        self._rows[key] = dict(row), etag
        self._rows.move_to_end(key)
        if len(self._rows) > KEPT_ROWS:
            self._forget(next(iter(self._rows)))
        return {"etag": etag}

    def _forget(self, key: Key) -> None:
        del self._rows[key]
        del self._keys[bisect.bisect_left(self._keys, key)]


class Query:
    """The rows that were found, by key: one by one or as the one page that they are."""

    def __init__(self, rows: Sequence[TableEntity]) -> None:
        self._rows = rows

    async def __aiter__(self) -> AsyncIterator[TableEntity]:
        for row in self._rows:
            yield row

    def by_page(self, continuation_token: object = None) -> Pages:
        assert continuation_token is None, "no page had one after it"
        return Pages([self])


class Pages:
    continuation_token = None

    def __init__(self, pages: Sequence[Query]) -> None:
        self._pages = iter(pages)

    async def __anext__(self) -> Query:
        for page in self._pages:
            return page
        raise StopAsyncIteration

    def __aiter__(self) -> Pages:
        return self


def _key(row: Mapping[str, Any]) -> Key:
    return row["PartitionKey"], row["RowKey"]


def _entity(row: Mapping[str, Any], etag: str) -> TableEntity:
    entity = TableEntity(row)
    entity._metadata = {"etag": etag, "timestamp": None}  # there is no public way to make one
    return entity


def _selected(row: Mapping[str, Any], names: Sequence[str] | None) -> Mapping[str, Any]:
    return {name: row.get(name) for name in names} if names else row


def _with_status[E: (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError)](error: E, status: int) -> E:
    error.status_code = status
    return error
