"""A table in memory that behaves as Azure's does behind the SDK's aio client, with lost answers on demand.

It stands where a `TableClient` would. Rows pass through the SDK's own conversion both ways, so what comes out has the
types a real read has; ETags, conditions, transactions, key ranges and the exceptions follow the service's reference
(https://learn.microsoft.com/rest/api/storageservices/table-service-rest-api). `test_rows` and every test of the
`tables` fixture run the same on Azurite.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from types import SimpleNamespace

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError
from azure.data.tables._deserialize import _convert_to_entity
from azure.data.tables._serialize import _add_entity_properties

_FILTER = re.compile(r"PartitionKey eq '(.*)' and RowKey ge '(.*)' and RowKey lt '(.*)'")
_FORBIDDEN = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_MAX_STRING_UNITS = 32_768


class MemoryTable:
    """`lose_answers`: so many of the next writes are done, but their answer is lost on the way back.

    As with the SDK, a PUT or DELETE is then sent again, and a POST (insert, transaction) fails with
    `ServiceResponseError`. `latency()` gives the seconds each way of an operation takes.
    """

    def __init__(self, latency=lambda: 0.0) -> None:
        self.rows: dict[tuple[str, str], tuple[dict, str]] = {}
        self.lose_answers = 0
        self.refuse: HttpResponseError | None = None
        self.writes = 0
        self._latency = latency
        self._etags = itertools.count(1)

    async def get_entity(self, partition_key, row_key):
        await self._travel()
        try:
            stored, etag = self.rows[partition_key, row_key]
        except KeyError:
            raise _error(ResourceNotFoundError, 404) from None
        return _convert_to_entity({**stored, "odata.etag": etag, "Timestamp": "2026-01-01T00:00:00Z"})

    async def create_entity(self, entity):
        return {"etag": (await self._post([("create", entity, {})]))[0]}

    async def update_entity(self, entity, mode, *, etag, match_condition):
        assert mode == "replace"
        operation = ("update", entity, {"mode": mode, "etag": etag, "match_condition": match_condition})
        return {"etag": (await self._put([operation]))[0]}

    async def delete_entity(self, partition_key, row_key, *, etag=None, match_condition=None):
        held = {"etag": etag, "match_condition": match_condition} if etag else {}
        try:
            await self._put([("delete", {"PartitionKey": partition_key, "RowKey": row_key}, held)])
        except ResourceNotFoundError:
            return

    async def submit_transaction(self, operations):
        operations = list(operations)
        assert len({entity["PartitionKey"] for _, entity, _ in operations}) == 1
        assert len({entity["RowKey"] for _, entity, _ in operations}) == len(operations)
        try:
            etags = await self._post(operations)
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
            raise _error(TableTransactionError, error.status_code) from error
        return [{"etag": etag} if etag else {} for etag in etags]

    async def query_entities(self, query_filter, *, results_per_page):
        partition, low, high = _FILTER.fullmatch(query_filter).groups()
        assert results_per_page <= 1000
        keys = sorted(key for key in self.rows if key[0] == partition and low <= key[1] < high)
        for page in itertools.batched(keys, results_per_page, strict=False):
            await self._travel()
            for key in page:
                if key in self.rows:
                    stored, etag = self.rows[key]
                    yield _convert_to_entity({**stored, "odata.etag": etag, "Timestamp": "2026-01-01T00:00:00Z"})

    async def _post(self, operations):
        etags = await self._arrive(operations)
        if self.lose_answers:
            self.lose_answers -= 1
            raise ServiceResponseError("connection reset")
        return etags

    async def _put(self, operations):
        etags = await self._arrive(operations)
        if self.lose_answers:
            self.lose_answers -= 1
            return await self._put(operations)
        return etags

    async def _arrive(self, operations):
        await self._travel()
        if self.refuse is not None:
            raise self.refuse
        for operation in operations:
            self._check(*operation)
        self.writes += 1
        etags = [self._apply(kind, entity) for kind, entity, _ in operations]
        await self._travel()
        return etags

    def _check(self, kind, entity, options) -> None:
        key = entity["PartitionKey"], entity["RowKey"]
        found = self.rows.get(key)
        if any(_FORBIDDEN.search(part) or len(part) > 512 for part in key):
            raise _error(HttpResponseError, 400)
        if any(
            isinstance(value, str) and len(value.encode("utf-16-le")) > 2 * _MAX_STRING_UNITS
            for value in entity.values()
        ):
            raise _error(HttpResponseError, 400)
        if kind == "create" and found:
            raise _error(ResourceExistsError, 409)
        if kind != "create" and not found:
            raise _error(ResourceNotFoundError, 404)
        if kind == "update" or options:
            assert options["match_condition"] is MatchConditions.IfNotModified
            if options["etag"] != found[1]:
                raise _error(ResourceModifiedError, 412)

    def _apply(self, kind, entity) -> str | None:
        key = entity["PartitionKey"], entity["RowKey"]
        if kind == "delete":
            del self.rows[key]
            return None
        etag = f"W/\"datetime'{next(self._etags)}'\""
        self.rows[key] = dict(_add_entity_properties(entity)), etag
        return etag

    async def _travel(self) -> None:
        await asyncio.sleep(self._latency())


def _error(kind, status):
    error = kind(message=f"0:{status}", response=SimpleNamespace(status_code=status, reason="", headers={}))
    error.error_code = str(status)
    return error
