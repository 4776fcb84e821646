"""What is told of an end: the event of a job, its callback, the event of a batch. Each is tried at once when the end is
stored, and again from the outbox until it was taken.

Every kind has a sender in `_SENDERS`; this room knows when they are asked, and what follows when they fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.delivery import events
from shared.errors import DarkroomError
from shared.jobs import batch as documents
from shared.jobs.job import Job
from shared.jobs.outbox import OutboxEntry, What
from shared.jobs.outbox import UndeliverableError as UndeliverableError  # for the senders
from shared.pipeline import callbacks, read
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import clients
from shared.platform.telemetry import log_unexpected
from shared.settings import settings

if TYPE_CHECKING:
    from azure.eventgrid.aio import EventGridPublisherClient

log = logging.getLogger("darkroom")

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
_AT_ONCE = 10
"""How many entries of a kind are sent at the same time: receivers that are slow to answer hold up neither each other
nor any event."""

_first_tries: set[asyncio.Task[None]] = set()


type Sender = Callable[[Rooms, OutboxEntry], Awaitable[None]]
"""Sends what an entry is for. Raises `AzureError` or `DarkroomError` to be asked again, `UndeliverableError` to be done
with it."""


async def announce(room: Rooms, entry: OutboxEntry) -> None:
    """Send what `entry` is for and clear it. Where nobody took it the entry stays, due again at its time: the job ended
    all the same, so nothing is raised."""
    from azure.core.exceptions import AzureError

    try:
        await _SENDERS[entry.what](room, entry)
        await room.outbox.sent(entry)
    except UndeliverableError as error:
        log.warning("the %s of %s is given up: %s", entry.what, entry.job_id, error)
        await room.outbox.sent(entry)
    except (AzureError, DarkroomError) as error:
        code = error.code if isinstance(error, DarkroomError) else type(error).__name__
        log.warning("the %s of %s was not taken (%s); next try at %s", entry.what, entry.job_id, code, entry.due)


async def first_tries(room: Rooms, entries: tuple[OutboxEntry, ...]) -> None:
    """Send what was just put into the outbox: events now, callbacks beside whatever comes next, since their receivers
    may be slow."""
    for entry in entries:
        if entry.what is What.CALLBACK:
            task = asyncio.create_task(_send(room, entry))
            _first_tries.add(task)
            task.add_done_callback(_first_tries.discard)
        else:
            await _send(room, entry)


async def send_due() -> int:
    """Send what the outbox holds and is due; how many entries were looked at."""
    room = await rooms()
    entries = await room.outbox.due()
    turns = {what: asyncio.Semaphore(_AT_ONCE) for what in What}

    async def again(entry: OutboxEntry) -> None:
        async with turns[entry.what]:
            # Put off before it is sent: of several timers one gets it.
            pause = min(FIRST_RETRY * 2 ** min(entry.tries, 10), LONGEST_RETRY)
            taken = await room.outbox.postpone(entry, datetime.now(UTC) + pause)
            if taken is not None:
                await _send(room, taken)

    done = await asyncio.gather(*map(again, entries), return_exceptions=True)
    if failed := [one for one in done if isinstance(one, BaseException)]:
        raise failed[0]
    return len(entries)


async def _send(room: Rooms, entry: OutboxEntry) -> None:
    try:
        await announce(room, entry)
    except Exception as error:  # noqa: BLE001 - one bad entry must not keep the others back; its time comes again
        log_unexpected(f"the {entry.what} of {entry.job_id}", error)


async def the_job(room: Rooms, entry: OutboxEntry) -> Job:
    """The job an entry is about. Raises `UndeliverableError` when retention was faster."""
    job = await room.store.get(entry.job_id)
    if job is None:
        raise UndeliverableError("the job is no longer there")
    return job


async def _publish(room: Rooms, entry: OutboxEntry) -> None:
    job = await the_job(room, entry)
    current = settings()
    event = events.completion(
        await read.document(room, job),
        app_name=current.app_name,
        ended_at=job.finished_at or datetime.now(UTC),
        with_prompt=current.event_prompts,
    )
    await events.publish(_topic(), event)


async def _publish_batch(room: Rooms, entry: OutboxEntry) -> None:
    batch = await room.store.batch(entry.job_id)
    if batch is None:
        raise UndeliverableError("the batch is no longer there")
    current = settings()
    event = events.batch_completion(
        documents.document(batch, api=f"{current.public_base_url}/api"),
        app_name=current.app_name,
        ended_at=batch.finished_at or datetime.now(UTC),
    )
    await events.publish(_topic(), event)


def _topic() -> EventGridPublisherClient:
    if not settings().topic_endpoint_uri:
        raise DarkroomError("misconfigured", "EVENTS__topicEndpointUri is not set.")
    return clients.topic()


async def _call_back(room: Rooms, entry: OutboxEntry) -> None:
    await callbacks.call_back(room, await the_job(room, entry))


_SENDERS: dict[What, Sender] = {What.EVENT: _publish, What.CALLBACK: _call_back, What.BATCH: _publish_batch}
