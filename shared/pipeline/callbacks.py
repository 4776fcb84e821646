"""The callback of an ended job, from its entry in the outbox; `announce` comes in here.

1. The URL is read from the stored request: it may carry a signature, and stands in no row.
2. The job document is made as its event has it, with links to the images that work: whoever is called back may have no
   other way to them, and is allowed by a setting.
3. 2xx takes it. 410 says that nobody listens any more. Anything else is tried again, until the job's end is a day old.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.delivery import callbacks, events
from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.jobs.outbox import UndeliverableError
from shared.pipeline import read, urls
from shared.pipeline.rooms import Rooms
from shared.platform import tracing
from shared.platform.destinations import OutboundError
from shared.settings import settings

log = logging.getLogger("darkroom")

TRIED_FOR = timedelta(days=1)
_GONE = 410


async def call_back(room: Rooms, job: Job) -> None:
    """Raises `UndeliverableError` when nobody will take it any more, `DarkroomError` to be asked again."""
    accepted = await _request(room, job)
    url = accepted.request.callback_url
    if url is None:
        raise UndeliverableError("the job's request names no callback")
    try:
        with tracing.about(job.id), tracing.span("call back", parent=job.traceparent, kind="CLIENT"):
            status = await _post(url, await document(room, job, accepted), job.traceparent)
        reason = f"is answered with status {status}"
    except OutboundError as error:
        status, reason = 0, str(error)
    if 200 <= status < 300:
        return
    if status == _GONE:
        raise UndeliverableError("its receiver says that it is gone (410)")
    if datetime.now(UTC) - (job.finished_at or job.created_at) > TRIED_FOR:
        raise UndeliverableError(f"it {reason}, and the job's end is a day old")
    log.warning("the callback of job %s %s", job.id, reason)
    raise DarkroomError("callback_not_taken", f"The callback {reason}.")


async def _request(room: Rooms, job: Job) -> AcceptedRequest:
    if job.purged_at is not None:
        raise UndeliverableError("the job was purged")
    try:
        return await room.files(job.id).get_request()
    except DarkroomError as error:
        if error.code == "internal_error":
            raise UndeliverableError("the job's request is no longer there") from error
        raise


async def document(room: Rooms, job: Job, accepted: AcceptedRequest | None = None) -> dict[str, Any]:
    """The job document as receivers get it: without the prompt unless events have it, with links that work."""
    data = events.public(await read.document(room, job, accepted), settings().event_prompts)
    await read.sign(room, data)
    return data


async def _post(url: str, document: dict[str, Any], traceparent: str) -> int:
    """The status of the receiver's answer. Raises `OutboundError` when there is none."""
    keys = settings().callback_signing_keys
    if not keys:
        raise OutboundError("cannot be signed: CALLBACK_SIGNING_KEY is not configured any more")
    body = callbacks.payload(document)
    at = datetime.now(UTC)
    return await callbacks.post(
        url,
        events.event_id(document),
        body,
        allowed=urls.callback_hosts(),
        signing_keys=keys,
        at=at,
        traceparent=traceparent,
    )
