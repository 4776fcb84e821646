"""The completion event of an ended job, sent once its end is stored and again until the topic took it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from shared.delivery import events
from shared.errors import DarkroomError
from shared.jobs.job import Job
from shared.jobs.outbox import OutboxEntry
from shared.pipeline import read
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import clients
from shared.platform.telemetry import log_unexpected
from shared.settings import settings

log = logging.getLogger("darkroom")

FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)


async def announce(room: Rooms, job: Job, entry: OutboxEntry) -> None:
    """Publish the event of `job` and clear its outbox entry. Where the topic does not take it the entry stays, due
    again at its time: the job ended all the same, so nothing is raised."""
    from azure.core.exceptions import AzureError

    try:
        await _publish(room, job)
        await room.outbox.sent(entry)
    except (AzureError, DarkroomError) as error:
        log.warning("the event of job %s was not taken (%s); next try at %s", job.id, type(error).__name__, entry.due)


async def send_due() -> int:
    """Send what the outbox holds and is due; how many entries were looked at."""
    room = await rooms()
    entries = await room.outbox.due()
    for entry in entries:
        # Put off before it is sent: of several timers one gets it.
        pause = min(FIRST_RETRY * 2 ** min(entry.tries, 10), LONGEST_RETRY)
        taken = await room.outbox.postpone(entry, datetime.now(UTC) + pause)
        if taken is not None:
            await _send(room, taken)
    return len(entries)


async def _send(room: Rooms, entry: OutboxEntry) -> None:
    try:
        job = await room.store.get(entry.job_id)
        if job is None:
            await room.outbox.sent(entry)
        else:
            await announce(room, job, entry)
    except Exception as error:  # noqa: BLE001 - one bad entry must not keep the others back; its time comes again
        log_unexpected(f"the event of job {entry.job_id}", error)


async def _publish(room: Rooms, job: Job) -> None:
    current = settings()
    if not current.topic_endpoint_uri:
        raise DarkroomError("misconfigured", "EVENTS__topicEndpointUri is not set.")
    event = events.completion(
        await read.document(room, job),
        app_name=current.app_name,
        ended_at=job.finished_at or datetime.now(UTC),
        with_prompt=current.event_prompts,
    )
    await events.publish(clients.topic(), event)
