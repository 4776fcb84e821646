"""What goes wrong meanwhile: workers killed, a model server that throttles, fails and cuts, a topic and a table that
refuse, messages that come again, blobs announced twice and late.

`Faults` is a context: inside it things go wrong, and when it is left they are well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from azure.storage.queue import QueueClient

from local.state import StackInfo
from tests.support.gate import Fate, Gate
from tests.support.peers import fetch
from tests.support.storage import Storage

BLOB_EVENTS = {"duplicate": 0.33, "delay_seconds": [0, 2], "shuffle": True}
GROWN_SECONDS = 4.0
"""How long a worker lives at least."""
TABLE_ODDS = {Fate.REFUSE: 0.01, Fate.CUT: 0.01, Fate.LOSE: 0.01, Fate.LOSE_AS_500: 0.005, Fate.DELAY: 0.01}

_MODEL_FAULTS: tuple[tuple[float, dict[str, Any]], ...] = (
    (4, {"name": "rate_limited", "retry_after_seconds": 1}),
    (2, {"name": "service_unavailable"}),
    (2, {"name": "internal_error"}),
    (1, {"name": "request_timeout"}),
    (1, {"name": "bad_gateway"}),
    (1, {"cut_before_response": True}),
    (1, {"cut_before_response": True, "reset": True}),
    (1, {"cut_after_bytes": 100_000}),
    (1, {"cut_after_bytes": 300, "reset": True}),
    (1, {"truncated_json": True}),
    (3, {"hang_seconds": 3}),
)
_TOPIC_FAULTS: tuple[dict[str, Any], ...] = (
    {"count": 2, "status": 503},
    {"count": 1, "status": 500, "keep": True},
    {"count": 1, "delay_seconds": 6},
)


@dataclass(slots=True)
class Done:
    """What was done to the stack. `killed` are process ids; `repeated` the jobs that a second message was sent for."""

    killed: set[int] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    model: Counter[str] = field(default_factory=Counter)
    topic: Counter[str] = field(default_factory=Counter)
    announced: dict[str, int] = field(default_factory=dict)
    """What the host counted of blob events: `delivered`, `duplicates` and the like."""


@dataclass(slots=True)
class Faults:
    """`kill_every` is the mean of seconds between two kills."""

    info: StackInfo
    gate: Gate
    requests: QueueClient
    seed: str
    kill_every: float
    done: Done = field(default_factory=Done)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.gate.odds = TABLE_ODDS
        await self._control("PUT", self._blob_events, BLOB_EVENTS)
        works: tuple[Coroutine[Any, Any, None], ...] = (
            *(self._kill(), self._disturb_model(), self._disturb_topic(), self._repeat_messages()),
        )
        self._tasks = [asyncio.create_task(work) for work in works]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self.gate.odds = {}
        for url in (self.info.model, self.info.topic):
            await self._control("DELETE", f"{url}/_local/behaviour")
        counted = (await self._control("GET", self._blob_events)).json()
        self.done.announced = {name: n for name, n in counted.items() if isinstance(n, int)}
        await self._control("DELETE", self._blob_events)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _kill(self) -> None:
        """SIGKILL to a worker, any of those that have run for a while: one that is killed before it has begun shows
        nothing, and where processors are few no other would ever run."""
        dice = random.Random(f"{self.seed} kills")
        since: dict[int, float] = {}
        async with httpx.AsyncClient(trust_env=False) as client:
            due = time.monotonic()
            while True:
                status = (await client.get(f"{self.info.app}/admin/host/status")).json()
                running = [worker["pid"] for worker in status["workers"] if worker["running"]]
                now = time.monotonic()
                since = {pid: since.get(pid, now) for pid in running}
                grown = [pid for pid in running if now - since[pid] >= GROWN_SECONDS]
                if grown and now >= due:
                    due = now + min(dice.expovariate(1 / self.kill_every), 3 * self.kill_every)
                    pid = dice.choice(grown)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.done.killed.add(pid)
                await asyncio.sleep(0.1)

    async def _disturb_model(self) -> None:
        dice = random.Random(f"{self.seed} model")
        weights, faults = zip(*_MODEL_FAULTS, strict=True)
        while True:
            wanted = dice.choices(faults, weights, k=dice.randrange(3))
            await self._control("PUT", f"{self.info.model}/_local/behaviour", {"faults": wanted})
            for fault in wanted:
                self.done.model[str(fault.get("name") or ", ".join(fault))] += 1
            await asyncio.sleep(dice.uniform(0.5, 2))

    async def _disturb_topic(self) -> None:
        dice = random.Random(f"{self.seed} topic")
        while True:
            fault = dict(dice.choice(_TOPIC_FAULTS))
            await self._control("PUT", f"{self.info.topic}/_local/behaviour", {"faults": [fault]})
            self.done.topic[" ".join(f"{name}={value}" for name, value in fault.items() if name != "count")] += 1
            await asyncio.sleep(dice.uniform(1, 4))

    async def _repeat_messages(self) -> None:
        """Of each job that comes to be, with a chance of one in three, another message that says to run it."""
        dice = random.Random(f"{self.seed} messages")
        storage = Storage(self.info.blob, self.info.table)
        seen: set[str] = set()
        while True:
            for job_id in sorted(await asyncio.to_thread(storage.live_jobs)):
                if job_id not in seen and dice.random() < 1 / 3:
                    self.done.repeated.add(job_id)
                    text = json.dumps({"job_id": job_id})
                    await asyncio.to_thread(self.requests.send_message, text, visibility_timeout=dice.randrange(10))
                seen.add(job_id)
            await asyncio.sleep(dice.uniform(0.5, 1.5))

    @property
    def _blob_events(self) -> str:
        return f"{self.info.app}/admin/_local/blob-events"

    async def _control(self, method: str, url: str, body: Any = None) -> httpx.Response:
        headers = {"x-functions-key": self.info.key} if url.startswith(self.info.app) else {}
        answer = await asyncio.to_thread(fetch, self.info, method, url, json=body, headers=headers)
        return answer.raise_for_status()
