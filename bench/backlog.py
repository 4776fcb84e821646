"""A local stack whose model polices its quota, and the backlogs that `pacing` puts before it."""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx

from local.identity import make_token
from local.stack import Stack, StackOptions
from local.state import StackInfo

REQUESTS_PER_MINUTE: Final = 60
LATENCY_SECONDS: Final = 20
DEPLOYMENT: Final = "gpt-image-1"
REQUEST: Final = {"prompt": "A small harbour in the morning", "quality": "low"}
_PATIENCE: Final = 600.0
# Nobody's own settings reach the stack: they might name a deployment that costs money.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


@dataclass(frozen=True, slots=True)
class Calls:
    """What the model server saw: when each call came (epoch seconds, ascending), how many it served and refused."""

    times: Sequence[float]
    served: int
    refused: int

    @property
    def seconds(self) -> float:
        """From the start of the first call to the start of the last one."""
        return self.times[-1] - self.times[0]


class Backlog:
    """A running stack, from outside: its app's doors and its model server's list of calls."""

    def __init__(self, info: StackInfo) -> None:
        trust = ssl.create_default_context(cafile=info.ca)
        key = {"x-functions-key": info.key}
        token = {"Authorization": f"Bearer {make_token('https://storage.azure.com')}", "x-ms-version": "2025-05-05"}
        self.info = info
        self._app = httpx.Client(base_url=info.app, headers=key, timeout=_PATIENCE, trust_env=False)
        self._model = httpx.Client(base_url=info.model, verify=trust, timeout=_PATIENCE, trust_env=False)
        self._table = httpx.Client(base_url=info.table, headers=token, verify=trust, trust_env=False)

    def submit(self, count: int) -> None:
        """Accept `count` jobs by the asynchronous door, eight at a time."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: self._app.post("/api/jobs", json=REQUEST), range(count)))
        assert [answer.status_code for answer in answers] == [202] * count

    def submit_batch(self, count: int) -> None:
        """Accept `count` requests as one batch."""
        answer = self._app.post("/api/batches", json={"requests": [REQUEST] * count})
        assert answer.status_code == 202, answer.text

    def generate(self, prompt: str) -> float:
        """A synchronous request; when the turn came that was next to be had (epoch seconds) as it was sent."""
        turn = self._next_turn()
        answer = self._app.post("/openai/v1/images/generations", json={**REQUEST, "prompt": prompt})
        assert answer.status_code == 200, answer.text
        return turn

    def forget(self) -> None:
        """Let the model server forget its calls and empty its windows."""
        self._model.delete("/_local/behaviour").raise_for_status()
        self._model.delete("/_local/calls").raise_for_status()

    def taken(self, count: int) -> list[dict[str, Any]]:
        """The calls, once the model server took `count`."""
        return self._when("taken", lambda calls: len(calls) >= count, count)

    def calls(self, served: int) -> Calls:
        """The calls, once `served` of them were answered."""
        found = self._when("finished", lambda calls: _count(calls, 200) >= served, served)
        return Calls(sorted(call["time"] for call in found), _count(found, 200), _count(found, 429))

    def _when(self, what: str, ready: Callable[[list[dict[str, Any]]], bool], count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            calls: list[dict[str, Any]] = self._model.get(f"/_local/calls?{what}={count}").json()
            if ready(calls):
                return calls
            time.sleep(0.2)
        raise TimeoutError(f"the model server was not called as it should within {_PATIENCE:.0f} s")

    def _next_turn(self) -> float:
        """What the pacing row says of the next slot that nobody has."""
        path = f"pacing(PartitionKey='pacing',RowKey='{DEPLOYMENT}')"
        row = self._table.get(f"/{path}", headers={"Accept": "application/json;odata=nometadata"}).json()
        return max(datetime.fromisoformat(row["next_at"]).timestamp(), time.time())

    def close(self) -> None:
        for client in (self._app, self._model, self._table):
            client.close()


@contextmanager
def backlog(workers: int) -> Iterator[Backlog]:
    """A whole stack with `workers` copies of the app's worker; each picture takes `LATENCY_SECONDS`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        environ = {
            **{key: os.environ[key] for key in _INHERITED if key in os.environ},
            "LOCAL_RPM": str(REQUESTS_PER_MINUTE),
            "LOCAL_LATENCY": str(LATENCY_SECONDS),
        }
        with Stack(StackOptions(directory=Path(name), workers=workers, environ=environ)) as info:
            opened = Backlog(info)
            try:
                yield opened
            finally:
                opened.close()


def _count(calls: Sequence[dict[str, Any]], status: int) -> int:
    return sum(call["status"] == status for call in calls)
