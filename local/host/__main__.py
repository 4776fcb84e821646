"""`python -m local.host --app DIR --port N [--workers n]`: a Functions host in the foreground.

Its settings come from the environment, which also passes to the app unchanged: LOCAL_HOST_KEY (required, the function
key), LOCAL_HOST_GRACE_SECONDS, LOCAL_HOST_QUEUE_LEASE_SECONDS, LOCAL_HOST_STATE_DIR, and what Azure's host reads
(AzureFunctionsJobHost__*, FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, WEBSITE_AUTH_ENABLED, the bindings' connections).
Prints `ready http://127.0.0.1:PORT` on stdout once everything runs; everything else goes to stderr. Ends with 0 on
SIGTERM or Ctrl-C, with 1 when the app or a setting is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

from local.host.host import Host
from local.host.metadata import UnservedAppError
from local.host.process import IndexingError, WorkerLostError
from local.host.routing import RouteTemplateError
from local.host.settings import HostSettings, SettingsError, read_settings


def main() -> int:
    """Run until told to stop; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.host")
    parser.add_argument("--app", type=Path, required=True, help="directory of the Functions app")
    parser.add_argument("--port", type=int, default=7071, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="copies of the app")
    arguments = parser.parse_args()
    try:
        settings = read_settings(arguments.app.resolve())
        listening = _bind(arguments.port)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    _log(settings.log_level)
    try:
        import uvloop  # not on every platform
    except ImportError:
        return asyncio.run(_run(settings, arguments.workers, listening))
    return uvloop.run(_run(settings, arguments.workers, listening))


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        raise SettingsError(f"Port {port} on 127.0.0.1 cannot be used: {error.strerror}.") from error
    return listening


def _log(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format="[host] %(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("azure").setLevel(logging.WARNING)
    # It reports as its own every connection that the worker or the client cut; the host reports those itself.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


async def _run(settings: HostSettings, workers: int, listening: socket.socket) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host = Host(settings, workers, listening)
    starting, stopping = asyncio.ensure_future(host.start()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            functions = starting.result()
            for function in functions:
                logging.getLogger("host").info("%s: %s", function.name, function.kind)
            print(f"ready http://{host.address}", flush=True)
            await stopping
        return 0
    except (IndexingError, UnservedAppError, RouteTemplateError, WorkerLostError) as error:
        print(f"The app cannot be served.\n{error}", file=sys.stderr)
        return 1
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await host.stop()


if __name__ == "__main__":
    sys.exit(main())
