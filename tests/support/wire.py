"""A bare connection to the app, for what no HTTP client would send; and the app's doors behind a server of the test's.

Behind such a server (the one the worker has, with real connections) a test sees what the process holds on to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.serving import listen
from tests.support import routes

SMALL_BUFFER = 4096


@dataclass(frozen=True, slots=True)
class Wire:
    """Connections to the app at `url`."""

    url: str
    key: str = ""

    async def open(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which `parts` were sent. What comes back is taken when it is read, and hardly before."""
        address = urlsplit(self.url)
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        taken.setblocking(False)
        await asyncio.get_running_loop().sock_connect(taken, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=taken, limit=SMALL_BUFFER)
        for data in parts:
            writer.write(data)
            await writer.drain()
        return reader, writer

    def head(self, route: str, *lines: str, method: str = "POST") -> bytes:
        start = (f"{method} {route} HTTP/1.1", "Host: app", f"x-functions-key: {self.key}", "Connection: close")
        return ("\r\n".join((*start, *lines)) + "\r\n\r\n").encode("latin-1")

    async def exchange(self, *parts: bytes) -> bytes:
        """What comes back on a connection on which `parts` were sent, until it ends; nothing when it is reset."""
        try:
            reader, writer = await self.open(*parts)
        except ConnectionResetError:
            return b""
        with closing(writer):
            return await rest(reader)

    async def leave(self, *parts: bytes) -> None:
        """Send `parts` and go without waiting for anything."""
        _, writer = await self.open(*parts)
        writer.close()
        await writer.wait_closed()


async def rest(reader: asyncio.StreamReader, *, within: float = 20.0) -> bytes:
    """What comes until the connection ends; nothing when it is reset."""
    try:
        async with asyncio.timeout(within):
            return await reader.read()
    except ConnectionResetError:
        return b""


@asynccontextmanager
async def serving() -> AsyncIterator[Wire]:
    """The app's HTTP functions at their routes, in this process and its loop."""
    found = [Route(f"/{route.path}", _endpoint(route.function), methods=[route.method]) for route in routes.routes()]
    config = uvicorn.Config(
        Starlette(routes=found), lifespan="off", log_config=None, timeout_graceful_shutdown=1, timeout_keep_alive=5
    )
    server = uvicorn.Server(config)
    with listen(0) as listener:
        listener.listen()  # requests that come before it serves wait here
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield Wire(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            await running


def _endpoint(function: Any) -> Callable[[Request], Any]:
    handler = getattr(function, "_function", function).get_user_function()

    async def endpoint(request: Request) -> Response:
        response: Response = await handler(request)
        return response

    return endpoint
