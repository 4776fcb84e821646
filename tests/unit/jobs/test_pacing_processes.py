"""Several processes and one record: their slots are everybody's, and what one was told a fresh one knows."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from local.azurite import StorageAccount
from local.model.limiter import SlidingWindow
from shared.jobs.rate import POLICED_WINDOWS

ROOT = Path(__file__).parents[3]
RPM = 120
EACH = 15
pytestmark = pytest.mark.usefixtures("azurite_environment")


async def instance(count: int) -> list[tuple[str, float]]:
    """The slots that a process of its own reserved: deployment and time."""
    command = [sys.executable, "-m", "tests.support.pacing_process", str(RPM), str(count)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(os.environ), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return [(name, at) for name, at in json.loads(output)] if count else []


async def test_processes_that_reserve_at_once_get_slots_that_no_window_refuses(
    azurite_environment: StorageAccount,
) -> None:
    slots = [slot for taken in await asyncio.gather(*(instance(EACH) for _ in range(3))) for slot in taken]

    assert len(slots) == 3 * EACH
    for name in {name for name, _ in slots}:
        windows = {window: SlidingWindow() for window in POLICED_WINDOWS}
        for at in sorted(at for deployment, at in slots if deployment == name):
            assert all(police.take(at, RPM, window).allowed for window, police in windows.items())
    assert {name for name, _ in slots} == {"first", "second"}  # the first has none within 10 s any more


async def test_a_fresh_process_knows_which_deployment_is_out_and_which_is_blocked() -> None:
    began = time.time()
    await instance(0)
    slots = await instance(2)

    assert [name for name, _ in slots] == ["second", "second"]
    assert min(at for _, at in slots) >= began + 30
