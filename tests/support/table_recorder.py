"""Under the table client: every request the app makes to Table Storage, with what it asked and how much came back.

Put in by `recording()` in place of the client that the app's rooms share.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables.aio import TableServiceClient

from shared.platform import clients
from shared.settings import settings

_RANGE = re.compile(r"PartitionKey eq '([^']+)' and RowKey ge '([^']*)' and RowKey lt '([^']+)'")
_ROW = re.compile(r"/\w+\(PartitionKey='[^']*',RowKey='[^']*'\)$")


@dataclass(frozen=True, slots=True)
class TableRequest:
    """One request: `filter` is None for what is no query. `sent` and `received` are bytes of the bodies."""

    method: str
    path: str
    filter: str | None
    page: int
    top: int | None
    sent: int
    received: int
    rows: int

    @property
    def is_query(self) -> bool:
        """Whether it reads more than the one row it names."""
        return self.method == "GET" and not _ROW.search(self.path)

    @property
    def has_range(self) -> bool:
        """Whether the query names a partition, and begins and ends at a row."""
        found = _RANGE.match(self.filter or "")
        return found is not None and "" != found[2] < found[3]


@dataclass(slots=True)
class TableRecorder:
    """What was recorded since the last `reset`, in the order of the answers."""

    requests: list[TableRequest] = field(default_factory=list)

    @property
    def queries(self) -> list[TableRequest]:
        return [request for request in self.requests if request.is_query]

    @property
    def cost(self) -> tuple[int, int, int]:
        """Requests, bytes sent, bytes received."""
        return (
            len(self.requests),
            sum(request.sent for request in self.requests),
            sum(request.received for request in self.requests),
        )

    @contextmanager
    def during(self) -> Iterator[TableRecorder]:
        """A recorder of what happens inside alone."""
        start = len(self.requests)
        part = TableRecorder()
        yield part
        part.requests.extend(self.requests[start:])

    def check(self, *, pages: int | None = 2) -> None:
        """Every query names partition and range of rows, and none reads more than `pages` pages (None: any number)."""
        for request in self.queries:
            assert request.has_range, f"a query without a partition or a range of rows: {request}"
            assert pages is None or request.page <= pages, f"page {request.page} of a query: {request}"


class _Recording(AioHttpTransport):  # type: ignore[misc]  # its module exports it lazily
    """The SDK's own transport, watched: what passes here is what goes over the wire, repeats of the SDK included."""

    def __init__(self, recorder: TableRecorder) -> None:
        super().__init__()
        self._recorder = recorder

    async def send(self, request: Any, **options: Any) -> Any:
        response: Any = await super().send(request, **options)
        url = urlsplit(request.url)
        query = parse_qs(url.query, keep_blank_values=True)
        if not response.is_stream_consumed:  # the answer to a transaction is not read yet
            await response.read()
        body: bytes = response.content
        self._recorder.requests.append(
            TableRequest(
                method=request.method,
                path=url.path,
                filter=query.get("$filter", [None])[0],
                page=self._page(query),
                top=int(query["$top"][0]) if "$top" in query else None,
                sent=_length(getattr(request, "body", None) or getattr(request, "content", None)),
                received=len(body),
                rows=body.count(b'"RowKey":'),
            )
        )
        return response

    def _page(self, query: dict[str, list[str]]) -> int:
        """Which page of its query this request is, as far as the same query was asked just before."""
        if "NextPartitionKey" not in query and "NextRowKey" not in query:
            return 1
        asked = [one for one in self._recorder.queries if one.filter == query.get("$filter", [None])[0]]
        return asked[-1].page + 1 if asked else 1


def _length(body: Any) -> int:
    if body is None:
        return 0
    return len(body.encode() if isinstance(body, str) else body)


@asynccontextmanager
async def recording() -> AsyncIterator[TableRecorder]:
    """Let the rooms of this process use a client that is recorded."""
    recorder = TableRecorder()
    await clients.warm()
    await clients.tables().close()
    clients._kept.pop("rooms", None)
    client = TableServiceClient(
        settings().table_service_uri,
        credential=clients.storage_credential(),
        transport=_Recording(recorder),
        retry_total=3,
    )
    clients._kept["tables"] = client
    yield recorder
