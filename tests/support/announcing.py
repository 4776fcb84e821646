"""Waiting for what an end sets going in this process, and putting the outbox's clock forward."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from functions import timers
from shared.jobs.outbox import Outbox
from shared.pipeline import announce
from shared.pipeline.rooms import rooms
from shared.platform import clients
from tests.support.waiting import eventually


async def first_tries() -> None:
    """Until nothing is being sent any more."""
    await eventually(lambda: not announce._first_tries, what="the end of the first try")


async def next_round(later: timedelta = timedelta(hours=2)) -> None:
    """What the timer does when all that waits in the outbox has become due."""
    present = await rooms()
    outbox = Outbox(clients.tables().get_table_client("jobs"), clock=lambda: datetime.now(UTC) + later)
    clients._kept["rooms"] = dataclasses.replace(present, outbox=outbox)
    await timers.send_outbox._function.get_user_function()(timer=None)
