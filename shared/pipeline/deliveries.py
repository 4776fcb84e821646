"""Ended jobs on their way to subscriptions; `announce` comes in here.

1. Before the event of an end goes out, one delivery for each subscription that wants it is put into the outbox, once,
   in the transaction that notes so on the event's row (`hand_out`).
2. Each is sent by itself, signed with its subscription's secret, and comes again until it is taken (`deliver`). What is
   told is what a callback is told: the job document, with links to the images that work.
3. A subscription whose receiver says that it is gone (410) is dropped; so is one that has taken nothing for most of the
   day that a delivery was tried.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime, timedelta

from shared.delivery import callbacks as signing
from shared.delivery import events
from shared.errors import DarkroomError
from shared.jobs.job import Job
from shared.jobs.outbox import OutboxEntry, UndeliverableError
from shared.jobs.subscriptions import Subscription
from shared.pipeline import callbacks, urls
from shared.pipeline.rooms import Rooms
from shared.platform import tracing
from shared.platform.destinations import OutboundError

log = logging.getLogger("darkroom")

FIRST_RETRY = timedelta(minutes=1)
"""More than the 30 s a receiver may take: a flow that is told twice runs twice."""
SILENT = callbacks.TRIED_FOR / 2
"""A receiver that took something in this time is alive, though it did not take one delivery for a day."""
_GONE = 410


async def hand_out(room: Rooms, event: OutboxEntry, job: Job) -> tuple[OutboxEntry, ...]:
    """Put the deliveries of an end into the outbox, before its `event` goes out; those put there now."""
    wanting = await room.subscriptions.for_end(job)
    return await room.outbox.hand_out(event, wanting, datetime.now(UTC) + FIRST_RETRY) if wanting else ()


async def deliver(room: Rooms, entry: OutboxEntry, job: Job) -> None:
    """Raises `UndeliverableError` when nobody will take it any more, `DarkroomError` to be asked again."""
    subscription = await room.subscriptions.get(entry.subscription)
    if subscription is None:
        raise UndeliverableError("the subscription is no longer there")
    if job.purged_at is not None:
        raise UndeliverableError("the job was purged")
    try:
        status = await _post(room, subscription, job)
        reason = f"is answered with status {status}"
    except OutboundError as error:
        status, reason = 0, str(error)
    if 200 <= status < 300:
        with contextlib.suppress(DarkroomError):  # A note; the next delivery makes it too, and this one was taken.
            await room.subscriptions.took(subscription)
        return
    if status == _GONE:
        await room.subscriptions.remove(subscription.id)
        raise UndeliverableError(f"subscription {subscription.id} is dropped: its receiver says that it is gone (410)")
    now = datetime.now(UTC)
    since = await room.subscriptions.failed(subscription, now)
    if now - (job.finished_at or job.created_at) > callbacks.TRIED_FOR:
        if now - since < SILENT:
            raise UndeliverableError(f"for subscription {subscription.id} it {reason}, and the job's end is a day old")
        await room.subscriptions.remove(subscription.id)
        raise UndeliverableError(f"subscription {subscription.id} is dropped: nothing was taken for a day; it {reason}")
    log.warning("the delivery of job %s to subscription %s %s", job.id, subscription.id, reason)
    raise DarkroomError("callback_not_taken", f"The delivery {reason}.")


async def _post(room: Rooms, subscription: Subscription, job: Job) -> int:
    """The status of the receiver's answer. Raises `OutboundError` when there is none."""
    from shared.platform.outbound import Outbound

    document = await callbacks.document(room, job)
    body = signing.payload(document)
    headers = signing.signed((subscription.secret,), events.event_id(document), datetime.now(UTC), body)
    headers |= tracing.headers(job.traceparent)
    with tracing.about(job.id), tracing.span("call back", parent=job.traceparent, kind="CLIENT"):
        return await Outbound(urls.callback_hosts()).post(subscription.url, body, headers)
