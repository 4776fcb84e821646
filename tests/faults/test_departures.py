"""Who goes away in the middle: the caller of a synchronous route, the worker process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.refusals import GENERATIONS, GOOD
from tests.support.storage import Storage
from tests.support.waiting import eventually


def workers(stack: StackInfo) -> set[int]:
    """The host's worker processes, by what the kernel says of their parents."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == stack.pids["host"]:
            found.add(int(status.parent.name))
    return found


async def test_the_job_of_a_caller_who_left_ends_all_the_same(
    app_client: httpx.AsyncClient, stack: StackInfo, stack_model: ModelControl, stack_storage: Storage
) -> None:
    known = {row["RowKey"] for row in stack_storage.rows("jobs")}
    stack_model.behave(latency_seconds=1.0)
    asking = asyncio.create_task(app_client.post(GENERATIONS[1], json=GOOD))
    await eventually(lambda: stack_model.calls(), what="the call at the model")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    async def ended() -> dict[str, Any] | None:
        new = [
            row for row in stack_storage.rows("jobs") if row["RowKey"].startswith("j:") and row["RowKey"] not in known
        ]
        return new[0] if new and new[0]["status"] != "running" else None

    row = await eventually(ended, what="the end of the job")
    job = row["RowKey"].removeprefix("j:")
    assert row["status"] == "succeeded"
    assert len(stack_model.calls()) == 1
    assert stack_storage.outcomes(job) == ["billed"]
    assert stack_storage.results_of(job) == ["0.json", "0.png"]
    assert (await app_client.get(f"/api/jobs/{job}")).json()["status"] == "succeeded"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker in /proc")
async def test_a_worker_that_dies_idle_is_not_missed(
    app_client: httpx.AsyncClient, stack: StackInfo, stack_model: ModelControl
) -> None:
    before = workers(stack)
    assert len(before) == 1
    os.kill(next(iter(before)), signal.SIGKILL)
    await eventually(lambda: not (before & workers(stack)), what="the end of the worker")
    answer = await app_client.post(GENERATIONS[1], json=GOOD)
    assert answer.status_code == 200, answer.text[:300]
    assert len(stack_model.calls()) == 1
    assert workers(stack).isdisjoint(before)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker in /proc")
async def test_a_worker_that_dies_in_a_call_costs_the_caller_an_answer_and_nobody_a_second_call(
    app_client: httpx.AsyncClient, stack: StackInfo, stack_model: ModelControl, stack_storage: Storage
) -> None:
    known = {row["RowKey"] for row in stack_storage.rows("ledger")}
    stack_model.fail({"hang_seconds": 30})
    asking = asyncio.create_task(app_client.post(GENERATIONS[1], json=GOOD))
    await eventually(lambda: any(call["fault"] for call in stack_model.calls()), what="the call at the model")
    os.kill(next(iter(workers(stack))), signal.SIGKILL)
    answer = await asking
    assert answer.status_code == 502
    assert [row["outcome"] for row in stack_storage.rows("ledger") if row["RowKey"] not in known] == ["started"]
    assert (await app_client.post(GENERATIONS[1], json={**GOOD, "prompt": "the next one"})).status_code == 200
    assert [call["parameters"]["prompt"] for call in stack_model.calls()] == [GOOD["prompt"], "the next one"]
