"""Writes a response to the client: in chunks, at a speed, compressed, and cut off where a fault says so.

An ASGI application of its own, because Starlette's responses neither pause nor break. `run.py` puts the connection's
transport into the ASGI scope, so that a fault can close it without a byte; without one (in-process tests) a cut is
raised as ConnectionResetError.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

TRANSPORT_KEY = "local.model.transport"


@dataclass
class WireResponse:
    """A response and how it travels. Sizes in bytes, times in seconds."""

    status: int
    headers: list[tuple[str, str]]
    body: AsyncIterator[bytes]
    length: int | None = None
    """Sent as Content-Length; None means chunked."""
    chunk_size: int = 65536
    bytes_per_second: float = 0.0
    gzip: bool = False
    flush_each_piece: bool = False
    """Every piece of the body is sent at once (events of a stream)."""
    cut_after_bytes: int | None = None
    reset: bool = False
    hang_seconds: float = 0.0
    hang_after_bytes: int | None = None
    departed: Callable[[], bool] = lambda: False
    """Whether the client has left."""
    sent: int = field(default=0, init=False)
    """Bytes of the body handed to the connection, after compression."""
    ending: str = field(default="complete", init=False)
    """`complete`, `cut` by a fault, or `left` by the client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = list(self.headers)
        if self.gzip:
            headers += [("content-encoding", "gzip"), ("vary", "accept-encoding")]
        elif self.length is not None:
            headers.append(("content-length", str(self.length)))
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        started = time.monotonic()
        async for chunk in self._chunks():
            if self.departed():
                self.ending = "left"
                return
            if not await self._write(chunk, send, started):
                self.ending = "cut"
                await cut_connection(scope, receive, reset=self.reset)
                return
        if self.departed():
            self.ending = "left"
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, chunk: bytes, send: Send, started: float) -> bool:
        """Send one chunk; False when the connection is to be cut within it."""
        for piece, stop in self._split(chunk):
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self.sent += len(piece)
            if stop == "cut":
                return False
            if stop == "hang":
                self.hang_after_bytes = None
                await asyncio.sleep(self.hang_seconds)
            if self.bytes_per_second:
                await asyncio.sleep(max(0.0, started + self.sent / self.bytes_per_second - time.monotonic()))
        return True

    def _split(self, chunk: bytes) -> list[tuple[bytes, str]]:
        """The chunk, ended where the connection hangs or is cut within it."""
        stops = []
        if self.hang_after_bytes is not None and self.hang_after_bytes <= self.sent + len(chunk):
            stops.append((max(0, self.hang_after_bytes - self.sent), "hang"))
        if self.cut_after_bytes is not None and self.cut_after_bytes <= self.sent + len(chunk):
            stops.append((max(0, self.cut_after_bytes - self.sent), "cut"))
        pieces, position = [], 0
        for end, stop in sorted(stops):
            pieces.append((chunk[position:end], stop))
            position = end
        return [*pieces, (chunk[position:], "")]

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body as it goes over the wire, `chunk_size` at a time."""
        squeeze = zlib.compressobj(1, zlib.DEFLATED, 31) if self.gzip else None
        waiting = bytearray()
        async for piece in self.body:
            waiting += squeeze.compress(piece) if squeeze else piece
            if squeeze and self.flush_each_piece:
                waiting += squeeze.flush(zlib.Z_SYNC_FLUSH)
            while len(waiting) >= self.chunk_size or (waiting and self.flush_each_piece):
                yield bytes(waiting[: self.chunk_size])
                del waiting[: self.chunk_size]
        if squeeze:
            waiting += squeeze.flush()
        while waiting:
            yield bytes(waiting[: self.chunk_size])
            del waiting[: self.chunk_size]


async def cut_connection(scope: Scope, receive: Receive, *, reset: bool) -> None:
    """Close the connection now, whatever was answered; with `reset` by TCP RST instead of an orderly end."""
    transport: asyncio.Transport | None = scope.get("extensions", {}).get(TRANSPORT_KEY)
    if transport is None:
        raise ConnectionResetError("the connection was cut by a fault")
    if reset:
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        continue


async def whole(content: bytes) -> AsyncIterator[bytes]:
    """A body that is already there."""
    yield content
