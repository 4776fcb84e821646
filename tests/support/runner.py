"""`python -m tests.support.runner deliver|run_now JOB SECONDS`: one run of a job in a process that a test may kill.

SECONDS is how far its job store's clock is ahead."""

from __future__ import annotations

import asyncio
import sys

from shared.pipeline import run
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import put_clock_forward, run_now


async def main(how: str, job_id: str, clock_ahead: str) -> None:
    if float(clock_ahead):
        await put_clock_forward(float(clock_ahead))
    if how == "deliver":
        await run.deliver(job_id)
        return
    job = await (await rooms()).store.get(job_id)
    assert job is not None
    await run_now(job)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
