"""HTTP as the host's server speaks it (ASGI): bodies coming in, answers going out, headers crossing over.

`frontend.py` answers with what is here, `proxy.py` passes requests on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"expect", b"x-ms-invocation-id"}
_NOT_RETURNED = _HOP_BY_HOP | {b"date", b"server"}  # the host's own server adds a date
_REPLACED = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))
_LINGER_SECONDS = 5.0


class RequestBody:
    """The client's body on its way in, one chunk ahead of the worker, counted against the host's limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self.is_too_large = False

    async def pump(self) -> None:
        """Take the body in; return when the client has gone or has sent more than the limit."""
        received, more = 0, True
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            if not more:
                continue
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            received += len(chunk)
            if received > self._limit:
                self.is_too_large = True
                return
            if chunk:
                await self._chunks.put(chunk)
            if not more:
                await self._chunks.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body for the worker."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


class Answer:
    """The response to the client, and how far it has got."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def start(self, response: aiohttp.ClientResponse) -> None:
        """Send the worker's status and headers."""
        headers = [(name.lower(), value) for name, value in response.raw_headers]
        dropped = _NOT_RETURNED | _named_by_connection(headers)
        self.has_started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name, value) for name, value in headers if name not in dropped],
            }
        )

    async def chunk(self, chunk: bytes) -> None:
        """Send a piece of the body; waits while the client is slower than the worker."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """End the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int) -> None:
        """Send a status with an empty body: the form of the host's own answers."""
        self.has_started = True
        await respond(self._send, status)


async def respond(
    send: Send, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = (), *, more: bool = False
) -> None:
    """Send a whole response; with `more` the connection is kept for the caller to end."""
    length = () if status == 204 else ((b"content-length", str(len(body)).encode()),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def refuse_body(receive: Receive, send: Send) -> None:
    """Answer 413 and close the connection, after listening on for a little.

    A client that is still sending when the connection is closed often never reads the answer.
    """
    await respond(send, 413, headers=((b"connection", b"close"),), more=True)
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def forwarded_headers(scope: Scope, trust_principal_headers: bool) -> list[tuple[str, str]]:
    """The client's headers as the worker may see them.

    Easy Auth's `x-ms-client-principal*` are dropped unless the platform vouches for them; nobody but the host names an
    invocation. Raises UnicodeDecodeError for a value that is no UTF-8, which Kestrel refuses too.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    dropped = _NOT_FORWARDED | _REPLACED | _named_by_connection(headers)
    kept = [
        (name.decode("ascii"), value.decode())
        for name, value in headers
        if name not in dropped and (trust_principal_headers or not name.startswith(b"x-ms-client-principal"))
    ]
    client, host = scope.get("client"), next((value for name, value in headers if name == b"host"), b"")
    kept += [("x-forwarded-for", client[0] if client else "127.0.0.1"), ("x-forwarded-proto", scope["scheme"])]
    return [*kept, ("x-forwarded-host", host.decode())]


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = (value for name, value in headers if name == b"connection")
    return frozenset(token.strip().lower() for value in named for token in value.split(b","))
