"""The ground a run stands on: the gate before the stack's table service, and the app's environment.

`Ground.configure` goes into `StackOptions`. Entered as a context around the stack, since the gate outlives the app.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Self

from local.certificates import Certificates
from local.stack import PROJECT
from tests.support.gate import Gate, opened

_ENVIRONMENT = {"LOCAL_RPM": "600", "LOCAL_LATENCY": "1.5"}
"""Settings of the stack: a quota that lets a run end in minutes, and calls long enough to be killed in."""
_TABLE = "STORAGE__tableServiceUri"
_SWEEP_SECONDS = 120


class Ground:
    """`environ` is what the stack is to be started with beside a person's own. `calls_again`: the app is told to call
    once more for a job whose runner died in its call (`RETRY_UNKNOWN_OUTCOME`), which may be paid twice."""

    def __init__(self, certificates: Certificates, *, calls_again: bool = True) -> None:
        self.gate = Gate()
        self.calls_again = calls_again
        self.environ = {**_ENVIRONMENT, "RETRY_UNKNOWN_OUTCOME": "crash" if calls_again else "never"}
        self._certificates = certificates
        self._environment: dict[str, str] = {}
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def configure(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Put the gate between the app and its table."""
        self._environment = dict(environment)
        self._opened.enter_context(opened(environment[_TABLE], self._certificates, self.gate))
        return {_TABLE: self.gate.url}

    async def sweep(self) -> None:
        """Let the app's timer that removes what no job owns run as if it were three days later, past the gate."""
        command = [sys.executable, "-m", "tests.chaos.sweep"]
        environment = {**os.environ, **self._environment}
        await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=PROJECT, check=True, timeout=_SWEEP_SECONDS
        )
