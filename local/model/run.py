"""Runs the server over HTTPS with uvicorn; each call gets the transport of its connection, for faults to cut."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.model.wire import TRANSPORT_KEY


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the transport among the scope's extensions."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_KEY: self.transport}  # type: ignore[dict-item]

    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


class _Server(uvicorn.Server):
    """Says when connections are taken, ends with exit code 0 on a signal, and does not wait for idle connections."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, CuttableProtocol) and connection.is_idle():
                # An orderly TLS close would wait for a peer that has no reason to read.
                connection.transport.abort()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            scheme = "https" if self.config.is_ssl else "http"
            print(f"ready {scheme}://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)


def serve(app: Starlette, *, port: int, certificate: Path | None, key: Path | None) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; `port` 0 takes a free one. Without a certificate: plain HTTP."""
    asyncio.run(server_for(app, certificate=certificate, key=key).serve([listening_socket(port)]))


def server_for(app: Starlette, *, certificate: Path | None, key: Path | None) -> uvicorn.Server:
    """A uvicorn server that waits two seconds at most for calls under way when it is told to end."""
    return _Server(
        uvicorn.Config(
            app,
            http=CuttableProtocol,
            ws="none",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=2,
        )
    )


def listening_socket(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
