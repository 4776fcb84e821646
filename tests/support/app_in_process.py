"""The pipeline in the test's own process, against real storage and the model server: for settings of the test's own,
and for clocks that can be put forward."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.azurite import StorageAccount
from shared import settings as app_settings
from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.intake import Intake
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.pipeline import accept, read, run
from shared.pipeline.rooms import rooms
from shared.platform import clients
from shared.platform.principals import KEY_OWNER, Caller
from tests.support.model_control import ModelControl
from tests.support.storage import Storage
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
CALLER = Caller(KEY_OWNER, sees_all=True)
TAKE_OVER_SECONDS = 76.0
"""A lease's minute, the 15 s that follow it, and one more."""


@dataclass(slots=True)
class App:
    """Darkroom without its doors."""

    model: ModelControl
    storage: Storage

    async def submit(self, **fields: Any) -> str:
        """Accept a request as the asynchronous door does; the id of the job, which waits for `deliver`."""
        intake, accepted = await _understood(fields)
        return (await accept.submit(intake, accepted, CALLER)).job.id

    async def begin(self, **fields: Any) -> Job:
        """Accept a request as the synchronous door does; the job runs with `run_now`."""
        intake, accepted = await _understood(fields)
        return (await accept.begin(intake, accepted, CALLER)).job

    async def run_now(self, **fields: Any) -> Job:
        return await run_now(await self.begin(**fields))

    async def deliver(self, job_id: str) -> Job:
        """What the queue door does with a message; the job as it is afterwards."""
        await run.deliver(job_id)
        return await self.job(job_id)

    async def run(self, **fields: Any) -> Job:
        """A job from its submit to the end of its first delivery."""
        return await self.deliver(await self.submit(**fields))

    async def job(self, job_id: str) -> Job:
        job = await (await rooms()).store.get(job_id)
        assert job is not None
        return job

    async def ended(self, job_id: str) -> Job:
        """The job when it has ended: its answer may have come before, since it passes on while it is stored."""

        async def end() -> Job | None:
            job = await self.job(job_id)
            return job if job.ended else None

        job: Job = await eventually(end, what="the job's end")
        return job

    async def document(self, job_id: str) -> dict[str, Any]:
        return await read.signed_document(await self.job(job_id))

    async def put_clock_forward(self, seconds: float) -> None:
        """Let the job store, whose leases end by its clock, believe that `seconds` have passed."""
        await put_clock_forward(seconds)

    def start_runner(self, job: str, how: str, clock_ahead: float = 0.0) -> subprocess.Popen[bytes]:
        """Run `job` in a process of its own, one that can be killed; `how` is `deliver` or `run_now`."""
        command = [sys.executable, "-m", "tests.support.runner", how, job, str(clock_ahead)]
        return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ))

    @asynccontextmanager
    async def killed_during_a_call(self, job: str, how: str, clock_ahead: float = 0.0) -> AsyncIterator[None]:
        """Leave a job behind as a runner does that is killed (SIGKILL) while the model works."""
        before = self._calling()
        process = self.start_runner(job, how, clock_ahead)
        try:
            await eventually(lambda: self._calling() > before or process.poll() is not None, what="the runner's call")
        finally:
            process.kill()
            await asyncio.to_thread(process.wait, 10)
        assert process.returncode < 0, "the runner ended by itself"
        yield

    def _calling(self) -> int:
        """How many calls have come in whole and met their fault."""
        return sum(1 for call in self.model.calls() if call["fault"])


async def run_now(job: Job) -> Job:
    """What the synchronous door does with a job that was begun."""
    budget = timedelta(seconds=app_settings.settings().sync_budget_seconds)
    accepted = await (await rooms()).files(job.id).get_request()
    return await run.run_now(job, datetime.now(UTC) + budget, None, accepted)


async def put_clock_forward(seconds: float) -> None:
    """The store of this process's rooms, with a clock `seconds` ahead."""
    present = await rooms()
    store = JobStore(
        clients.tables().get_table_client("jobs"), clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds)
    )
    clients._kept["rooms"] = dataclasses.replace(present, store=store)


async def _understood(fields: dict[str, Any]) -> tuple[Intake, AcceptedRequest]:
    """What a door makes of a request; it removes what it stored of one that is refused."""
    intake = await accept.intake()
    try:
        return intake, await accept.understand(intake, CALLER, _request(fields), kind=None)
    except DarkroomError:
        await intake.discard()
        raise


def _request(fields: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": "a lighthouse", "quality": "low", **fields}


def deployment(endpoint: str, name: str = "gpt-image-1", **members: Any) -> dict[str, Any]:
    """An entry of `DEPLOYMENTS`."""
    return {"name": name, "endpoint": endpoint, "model": "gpt-image-1", "requests_per_minute": 600, **members}


def use_settings(monkeypatch: Any, deployments: Sequence[dict[str, Any]], **changes: str) -> None:
    """Let the app's settings be read anew, with these deployments and changes."""
    monkeypatch.setenv("DEPLOYMENTS", json.dumps(list(deployments)))
    monkeypatch.setenv("PUBLIC_BASE_URL", "http://127.0.0.1:7071")
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    app_settings.settings.cache_clear()


@asynccontextmanager
async def running(model: ModelControl, account: StorageAccount) -> AsyncIterator[App]:
    """The app's clients belong to the event loop of one test."""
    await clients.close()
    try:
        yield App(model, Storage(account.blob, account.table))
    finally:
        await _at_rest()
        await clients.close()
        app_settings.settings.cache_clear()


async def _at_rest() -> None:
    """Until the jobs of synchronous answers have ended: an answer passes on before, and what a job does later would
    meet the clients of the next test."""
    from functions import images  # a runner in a process of its own needs no doors

    if images._running:
        await asyncio.wait(images._running, timeout=20)
