"""The bench in the place of the Functions host: a worker process of the local host's, driven directly.

In HTTP-streams mode the host sends each request to the worker's own HTTP server and, beside it, an invocation with the
same id (`local/host/proxy.py`). Both are done here with sockets and threads, so that no host's cost is in a figure.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.connection import Connection, Take
from local.host import codec

_ROOT: Final = Path(__file__).parents[1]
_START_SECONDS: Final = 60.0
_LENGTH: Final = struct.Struct("!I")
_TRACE: Final = f"00-{1:032x}-{1:016x}-01"


@dataclass(frozen=True, slots=True)
class Function:
    id: str
    parameter: str


class FunctionsHost:
    """One worker with the app in `app`; leaving it ends the process. `module` is what is run as the worker."""

    def __init__(self, app: Path, environment: Mapping[str, str], log: Path, module: str = "local.host.worker") -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", module, "--fd", str(theirs.fileno()), "--app", str(app), "--log-level", "INFO"]
        self._log = log
        with theirs, log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # a worker ends when this does
                stdout=output,
                stderr=output,
                cwd=_ROOT,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
            )
        self._socket = ours
        self._socket.settimeout(_START_SECONDS)
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._reader = self._socket.makefile("rb")
        report = self._read()
        if report is None or report["error"]:
            self.close()
            why = report["error"]["message"] if report else "it ended"
            raise RuntimeError(f"the worker did not load its app: {why} ({self._log})")
        self._socket.settimeout(None)
        self._functions = {entry["name"]: _function(entry) for entry in report["functions"]}
        self.port = int(report["http_uri"].rpartition(":")[2])
        self._await_server()
        threading.Thread(target=self._hear, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def ask(
        self, connection: Connection, function: str, route: Mapping[str, str], head: str, body: bytes, take: Take
    ) -> bytes:
        """One request: the head of the answer, once its body went to `take`. `head` is what comes before the id."""
        invocation = f"00000000-0000-4000-8000-{next(self._ids):012x}"
        known = self._functions[function]
        message = {
            "id": invocation,
            "function_id": known.id,
            "inputs": {known.parameter: {"http": {"params": route}}},
            "metadata": {},
            "trace_parent": _TRACE,
            "trace_state": "",
        }
        connection.send(f"{head}x-ms-invocation-id: {invocation}\r\n\r\n".encode() + body)
        with self._lock:
            self._socket.sendall(codec.encode(message))
        return connection.receive(take)

    def _await_server(self) -> None:
        """The runtime reports its address before it listens there."""
        end = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the worker does not listen ({self._log})")
            time.sleep(0.01)

    def _hear(self) -> None:
        """What the worker says of each invocation's end; failures are kept."""
        with contextlib.suppress(OSError, ValueError):
            while (message := self._read()) is not None:
                if message["error"]:
                    self.errors.append(message["error"]["message"])

    def _read(self) -> dict[str, Any] | None:
        head = self._reader.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        message: dict[str, Any] = json.loads(self._reader.read(_LENGTH.unpack(head)[0]))
        return message


def _function(entry: Mapping[str, Any]) -> Function:
    bindings = [json.loads(binding) for binding in entry["bindings"]]
    trigger = next(binding for binding in bindings if binding["type"].endswith("Trigger"))
    return Function(entry["id"], trigger["name"])
