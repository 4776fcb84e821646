"""A listener on the wire between the app and one of its services: passes every byte on, and keeps what was asked."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from local.certificates import Certificates

# Requests inside the body of a table transaction name absolute addresses; these are the ones that stand alone.
_REQUEST = re.compile(
    rb"(?:GET|HEAD|PUT|POST|PATCH|MERGE|DELETE) (?P<target>/\S*) HTTP/1\.1\r\n(?P<headers>(?:[^\r\n]+\r\n)+)\r\n"
)
_PIECE = 65536


@dataclass(slots=True)
class Wiretap:
    """What passed. `url` is where to send what was meant for the service."""

    url: str = ""
    _heard: list[bytearray] = field(default_factory=list)

    def requests(self) -> list[tuple[str, dict[str, str]]]:
        """Target and headers (lower-case names) of each request so far."""
        return [
            (found["target"].decode(), _headers(found["headers"]))
            for heard in self._heard
            for found in _REQUEST.finditer(bytes(heard))
        ]

    async def _pass_on(self, upstream: str, trust: ssl.SSLContext, app: Streams) -> None:
        parts = urlsplit(upstream)
        service = await asyncio.open_connection(parts.hostname, parts.port, ssl=trust)
        heard = bytearray()
        self._heard.append(heard)
        ways = (_copy(app[0], service[1], heard), _copy(service[0], app[1], None))
        try:
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            app[1].transport.abort()
            service[1].transport.abort()


type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def tapped(upstream: str, certificates: Certificates) -> Iterator[Wiretap]:
    """A tap, in a thread of its own, on the way to the https service at `upstream`."""
    tap = Wiretap()
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    offered.load_cert_chain(certificates.cert, certificates.key)
    trust = ssl.create_default_context(cafile=certificates.ca)
    loop = asyncio.new_event_loop()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(
            lambda reader, writer: tap._pass_on(upstream, trust, (reader, writer)), "127.0.0.1", 0, ssl=offered
        )

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
        tap.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(upstream).path}"
        try:
            yield tap
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray | None) -> None:
    try:
        while piece := await reader.read(_PIECE):
            if heard is not None:
                heard += piece
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    server.abort_clients()
    current = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not current]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # aborted connections close in the loop's next round


def _headers(block: bytes) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in block.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
