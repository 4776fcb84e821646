"""How the stack's small servers listen: on loopback, on any free port, saying so when they serve."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request


class _AnnouncingServer(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            scheme = "https" if self.config.is_ssl else "http"
            print(f"ready {scheme}://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)


def https_parser(program: str, description: str) -> argparse.ArgumentParser:
    """The options of a server that `serve`s over https: `port`, `cert` and `key`."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    return parser


def serve(app: Starlette, port: int, cert: str | None = None, key: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT on `port` (0: any free one) of 127.0.0.1; print `ready <url>` once listening.

    Over https with the files `cert` and `key`, else over plain HTTP.
    """
    listener = listen(port)
    config = uvicorn.Config(
        app,
        ssl_certfile=cert,
        ssl_keyfile=key,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has closed
    with listener:
        asyncio.run(_AnnouncingServer(config).serve(sockets=[listener]))


def listen(port: int) -> socket.socket:
    """Return a socket bound to `port` of 127.0.0.1 (0: any free one). Raises OSError when the port is taken."""
    # The protocol is named since asyncio sets TCP_NODELAY only where it is: each answer would wait 40 ms without.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


async def read_json(request: Request) -> Any:
    """Return the JSON of a control request, or None when it is none (callers then refuse it by its type)."""
    try:
        return json.loads(await request.body())
    except ValueError:
        return None
