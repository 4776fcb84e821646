"""One worker process as the host sees it: started, asked to index, given invocations, and at some time gone.

`workers.py` keeps these alive. A process never outlives the host: its stdin is a pipe that only the host holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Self

from local.host import codec
from local.host.worker import HTTP_ADDRESS

_PROJECT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_LONGEST_LINE = 65_536

log = logging.getLogger("host.worker")


class WorkerLostError(Exception):
    """The worker process went away before it said how an invocation ended."""


class IndexingError(Exception):
    """The app could not be indexed; the message is the runtime's, with the app's own lines of the traceback."""


class WorkerProcess:
    """A running worker. `functions` is its report of the app; `http_uri` its HTTP server, if it has one."""

    def __init__(self, label: str, process: asyncio.subprocess.Process, connection: socket.socket) -> None:
        self.label = label
        self.pid = process.pid
        self.functions: list[dict[str, Any]] = []
        self.http_uri: str | None = None
        self._process = process
        self._connection = connection
        self._writer: asyncio.StreamWriter | None = None
        self._pending: dict[str, asyncio.Future[dict[str, str] | None]] = {}
        self._pumps = [
            asyncio.create_task(_pass_on(stream, label)) for stream in (process.stdout, process.stderr) if stream
        ]

    @classmethod
    async def start(cls, label: str, app: Path, environment: dict[str, str], log_level: str) -> Self:
        """Start a process for `app` and wait until it is indexed and listens.

        Raises IndexingError for what the app's author must mend, WorkerLostError if the process dies meanwhile.
        """
        ours, theirs = socket.socketpair()
        arguments = ["--fd", str(theirs.fileno()), "--app", str(app), "--log-level", log_level]
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "local.host.worker", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                cwd=_PROJECT,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is the host's to handle
            )
        worker = cls(label, process, ours)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker._index(app)
                await worker._listening()
        except TimeoutError:
            await worker.stop()
            raise WorkerLostError(f"{label} took longer than {_START_SECONDS:.0f} s to load the app") from None
        except BaseException:
            await worker.stop()
            raise
        return worker

    async def _index(self, app: Path) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection)
        report = await codec.read(reader)
        if report is None:
            raise WorkerLostError(f"{self.label} ended while the app was being loaded")
        if report["error"]:
            raise IndexingError(_readable(report["error"], app))
        self.functions, self.http_uri = report["functions"], report["http_uri"]
        self._pumps.append(asyncio.create_task(self._collect(reader)))

    async def _listening(self) -> None:
        """Wait for the HTTP server: the runtime reports its address before it listens there."""
        if self.http_uri is None:
            return
        port = int(self.http_uri.rpartition(":")[2])
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HTTP_ADDRESS, port)
                writer.close()
                return
            if self._process.returncode is not None:
                raise WorkerLostError(f"{self.label} ended before its HTTP server listened")
            await asyncio.sleep(0.01)

    def invoke(self, message: codec.Message) -> asyncio.Future[dict[str, str] | None]:
        """Start an invocation. The future is its error (`message`, `stack_trace`) or None; or WorkerLostError."""
        future = asyncio.get_running_loop().create_future()
        if self._writer is None or self._writer.is_closing():
            future.set_exception(WorkerLostError(f"{self.label} is gone"))
            return future
        self._pending[message["id"]] = future
        self._writer.write(codec.encode(message))
        return future

    async def _collect(self, reader: asyncio.StreamReader) -> None:
        while (message := await codec.read(reader)) is not None:
            future = self._pending.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_result(message["error"])
        self._lose()

    def _lose(self) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(WorkerLostError(f"{self.label} ended during the invocation"))
        self._pending.clear()
        if self._writer is not None:
            self._writer.close()

    async def ended(self) -> int:
        """Wait for the process to end by itself; its return code, negative for a signal."""
        code = await self._process.wait()
        self._lose()
        return code

    async def stop(self) -> None:
        """End the process now, and let its last lines out."""
        self._lose()
        if self._writer is None:
            self._connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(1):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self.kill()  # what the app started is in the same group
        await asyncio.wait(self._pumps, timeout=1)
        for pump in self._pumps:
            pump.cancel()

    def kill(self) -> None:
        """Kill the process and whatever it started (it leads a process group of its own)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


async def _pass_on(stream: asyncio.StreamReader, label: str) -> None:
    """Print each line of the worker's output behind its label."""
    rest = b""
    while block := await stream.read(_LONGEST_LINE):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) >= _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            _print(label, line)
    if rest:
        _print(label, rest)


def _print(label: str, line: bytes) -> None:
    print(f"[{label}] {line.decode(errors='replace').rstrip()}", file=sys.stderr, flush=True)


def _readable(error: dict[str, str], app: Path) -> str:
    """The runtime's message, then the lines of the traceback that lie in the app."""
    lines = error["stack_trace"].splitlines()
    own = [
        "\n".join(lines[number : number + 2])
        for number, line in enumerate(lines)
        if line.lstrip().startswith("File ") and str(app) in line and "site-packages" not in line
    ]
    return "\n".join([error["message"], *dict.fromkeys(own)])  # a chained exception repeats the lines of its cause
