"""Runs the host as its users do: as a process of its own, in front of the small apps under `apps/`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

APPS = Path(__file__).parent / "apps"
KEY = "test-key"
PATIENCE = 20.0


class RunningHost:
    """A host process and everything it says."""

    def __init__(self, app: Path, workers: int, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.host", "--app", str(app), "--port", "0", "--workers", str(workers)],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "LOCAL_HOST_KEY": KEY, "LOCAL_HOST_GRACE_SECONDS": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self._ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def hears(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until a line fits `pattern` for the n-th time; that line's match."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._heard:
            self._heard.wait_for(lambda: len(found()) >= times or self._ended, PATIENCE)
            matches = found()
        if len(matches) < times:
            pytest.fail(f"the host did not say {pattern!r} {times} times but:\n" + "\n".join(self.lines))
        return matches[times - 1]

    @property
    def url(self) -> str:
        return self.hears(r"^ready (http://127\.0\.0\.1:\d+)$")[1]

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        with self._heard:
            self._heard.wait_for(lambda: self._ended, PATIENCE)
        self.process.stdout.close()


type StartHost = Callable[..., RunningHost]


@pytest.fixture
def start_host() -> Iterator[StartHost]:
    """Starts hosts that end with the test: `start_host(app, workers=1, **environment)`; `app` may be one of `apps/`."""
    hosts: list[RunningHost] = []

    def start(app: str | Path, workers: int = 1, **environment: str) -> RunningHost:
        hosts.append(RunningHost(APPS / app, workers, environment))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


@pytest.fixture(scope="module")
def streams_host() -> Iterator[RunningHost]:
    """One host in front of the app `streams`, for tests that leave it as it was."""
    host = RunningHost(APPS / "streams", 1, {})
    assert host.url
    yield host
    host.close()
