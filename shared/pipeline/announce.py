"""What is told of an end: the event of a job, its callback, its deliveries to subscriptions, the event of a batch. Each
is tried at once when the end is stored, and again from the outbox until it was taken.

Every kind has a sender in `_SENDERS`; this room knows when they are asked, and what follows when they fail.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.delivery import events
from shared.errors import DarkroomError
from shared.jobs import batch as documents
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.jobs.outbox import OutboxEntry, UndeliverableError, What
from shared.pipeline import callbacks, deliveries, read
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import clients, tracing
from shared.platform.tasks import all_of
from shared.platform.telemetry import log_unexpected
from shared.settings import settings

if TYPE_CHECKING:
    from azure.eventgrid.aio import EventGridPublisherClient

log = logging.getLogger("darkroom")

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
_AT_ONCE = {What.EVENT: 10, What.BATCH: 10, What.CALLBACK: 100}
"""How many entries of a kind are sent at the same time. Callbacks as many as a round has: one receiver may take 30 s,
and no more than that must go by until the next round, with the events that are due by then."""
_AT_A_RECEIVERS_LEISURE = (What.CALLBACK, What.DELIVERY)
_ROUND_SECONDS = 30.0
"""How long a round begins further deliveries to one subscription."""

_first_tries: set[asyncio.Task[bool]] = set()


type Sender = Callable[[Rooms, OutboxEntry], Awaitable[None]]
"""Sends what an entry is for. Raises `AzureError` or `DarkroomError` to be asked again, `UndeliverableError` to be done
with it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that ended just now, and what its runner has at hand of its stored request and result: its event is made of
    these. What is sent beside or later than that is made of what is stored by then."""

    job: Job
    accepted: AcceptedRequest | None = None
    result: Mapping[str, Any] | None = None


async def announce(room: Rooms, entry: OutboxEntry, ended: Ended | None = None) -> bool:
    """Send what `entry` is for and clear it. Where nobody took it the entry stays, due again at its time: the job ended
    all the same, so nothing is raised. Whether it was taken."""
    from azure.core.exceptions import AzureError

    at_hand = ended is not None and entry.what is What.EVENT
    send = partial(_publish, ended=ended) if at_hand else _SENDERS[entry.what]
    try:
        await send(room, entry)
        await room.outbox.sent(entry)
        return True
    except UndeliverableError as error:
        log.warning("the %s of %s is given up: %s", entry.what, entry.job_id, error)
        await room.outbox.sent(entry)
    except (AzureError, DarkroomError) as error:
        code = error.code if isinstance(error, DarkroomError) else type(error).__name__
        log.warning("the %s of %s was not taken (%s); next try at %s", entry.what, entry.job_id, code, entry.due)
    return False


async def first_tries(room: Rooms, entries: tuple[OutboxEntry, ...], ended: Ended | None = None) -> None:
    """Send what was just put into the outbox, the end of `ended` where it is a job's: events now, callbacks and
    deliveries beside whatever comes next, since their receivers may be slow. Where too many of them are, the timer
    sends theirs: each holds a connection."""
    for entry in entries:
        if entry.what in _AT_A_RECEIVERS_LEISURE and len(_first_tries) >= _AT_ONCE[What.CALLBACK]:
            log.info("the %s of %s is left to the timer: many receivers are slow", entry.what, entry.job_id)
        elif entry.what in _AT_A_RECEIVERS_LEISURE:
            task = asyncio.create_task(_send(room, entry))
            _first_tries.add(task)
            task.add_done_callback(_first_tries.discard)
        else:
            await _send(room, entry, ended)


async def send_due() -> int:
    """Send what the outbox holds and is due but deliveries; how many entries were looked at."""
    room = await rooms()
    entries = await room.outbox.due()
    turns = {what: asyncio.Semaphore(number) for what, number in _AT_ONCE.items()}

    async def again(entry: OutboxEntry) -> None:
        async with turns[entry.what]:
            if taken := await _taken(room, entry, FIRST_RETRY):
                await _send(room, taken)

    await all_of(*map(again, entries))
    return len(entries)


async def deliver_due() -> int:
    """Send the deliveries that are due, those to one subscription one after the other; how many were looked at.

    A receiver that does not take one is asked for no more in this round: its other deliveries are put off as they are,
    so that they keep nobody else's from being looked at.
    """
    room = await rooms()
    entries = await room.outbox.due_deliveries()
    ends = asyncio.get_running_loop().time() + _ROUND_SECONDS
    by_subscription: defaultdict[str, list[OutboxEntry]] = defaultdict(list)
    for entry in entries:
        by_subscription[entry.subscription].append(entry)

    async def to_one(some: list[OutboxEntry]) -> None:
        takes = True
        for entry in some:
            taken = await _taken(room, entry, deliveries.FIRST_RETRY)
            if taken is not None and takes:
                takes = await _send(room, taken) and asyncio.get_running_loop().time() < ends

    await all_of(*map(to_one, by_subscription.values()))
    return len(entries)


async def _taken(room: Rooms, entry: OutboxEntry, first_retry: timedelta) -> OutboxEntry | None:
    """`entry`, put off before it is sent: of several timers one gets it."""
    pause = min(first_retry * 2 ** min(entry.tries, 10), LONGEST_RETRY)
    return await room.outbox.postpone(entry, datetime.now(UTC) + pause)


async def _send(room: Rooms, entry: OutboxEntry, ended: Ended | None = None) -> bool:
    """Whether somebody took it."""
    try:
        return await announce(room, entry, ended)
    except Exception as error:  # noqa: BLE001 - one bad entry must not keep the others back; its time comes again
        log_unexpected(f"the {entry.what} of {entry.job_id}", error)
        return False


async def _the_job(room: Rooms, entry: OutboxEntry) -> Job:
    """The job an entry is about. Raises `UndeliverableError` when retention was faster."""
    job = await room.store.get(entry.job_id)
    if job is None:
        raise UndeliverableError("the job is no longer there")
    return job


async def _publish(room: Rooms, entry: OutboxEntry, ended: Ended | None = None) -> None:
    ended = ended or Ended(await _the_job(room, entry))
    job = ended.job
    await first_tries(room, await deliveries.hand_out(room, entry, job))
    current = settings()
    event = events.completion(
        await read.document(room, job, ended.accepted, ended.result),
        app_name=current.app_name,
        ended_at=job.finished_at or datetime.now(UTC),
        with_prompt=current.event_prompts,
        traceparent=job.traceparent,
    )
    with tracing.about(job.id), tracing.span("publish event", parent=job.traceparent, kind="PRODUCER"):
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
        traceparent=batch.traceparent,
    )
    with tracing.span("publish event", parent=batch.traceparent, kind="PRODUCER"):
        await events.publish(_topic(), event)


def _topic() -> EventGridPublisherClient:
    if not settings().topic_endpoint_uri:
        raise DarkroomError("misconfigured", "EVENTS__topicEndpointUri is not set.")
    return clients.topic()


async def _call_back(room: Rooms, entry: OutboxEntry) -> None:
    await callbacks.call_back(room, await _the_job(room, entry))


async def _deliver(room: Rooms, entry: OutboxEntry) -> None:
    await deliveries.deliver(room, entry, await _the_job(room, entry))


_SENDERS: dict[What, Sender] = {
    What.EVENT: _publish,
    What.CALLBACK: _call_back,
    What.BATCH: _publish_batch,
    What.DELIVERY: _deliver,
}
