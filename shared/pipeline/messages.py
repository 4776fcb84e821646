"""Messages of queue `image-requests`: our own claim-checks, and requests that anybody may write.

A stranger's message becomes a job before it is run, bound to its own `id` or, without one, to its queue id, so that a
message that comes twice is one job. A message that can be no job, because it is no JSON or its request is refused, is
a failed job with its event: whoever listens learns why, and nothing is tried five times for nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.jobs.idempotency import Existing, row_of_key
from shared.jobs.job import Door, Status, is_id, new_id, new_runner
from shared.jobs.queue import parse_message
from shared.jobs.store import ClaimOutcome
from shared.pipeline import accept, ending, takeover
from shared.pipeline.rooms import Rooms, rooms
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT
from shared.platform.principals import Caller

log = logging.getLogger("darkroom")

OWNER = Caller("queue", sees_all=False)
_MAX_ID_CHARS = 256


async def job_of(body: bytes, message_id: str) -> str:
    """The job to run for a message; a stranger's is accepted first, or written down as failed.

    Raises `storage_unavailable`, and nothing else for what is in the message.
    """
    try:
        data = parse_message(body)
    except DarkroomError as error:
        return await _refused(message_id, error)
    if data.keys() == {"job_id"} and isinstance(data["job_id"], str) and is_id(data["job_id"]):
        return str(data["job_id"])
    own_id = data.pop("id", None)
    if own_id is not None and not (isinstance(own_id, str) and 0 < len(own_id) <= _MAX_ID_CHARS):
        wrong = DarkroomError("invalid_value", f"'id' must be a text of 1 to {_MAX_ID_CHARS} characters.", param="id")
        return await _refused(message_id, wrong)
    return await _accepted(own_id or message_id, message_id, data)


async def give_up(body: bytes, message_id: str) -> None:
    """End the job of a message that failed too often, unless a live lease says that it runs."""
    job_id = await job_of(body, message_id)
    room = await rooms()
    claim = await room.store.claim(job_id, new_runner())
    if claim.outcome is not ClaimOutcome.CLAIMED or claim.job is None:
        log.info("job %s of a poisoned message needs no end here: %s", job_id, claim.outcome)
        return
    async with room.store.hold(claim.job) as lease:
        try:
            await takeover.settle(room, lease, claim, await room.files(job_id).get_request())
        except DarkroomError as error:
            if error.code in NOT_THE_JOBS_FAULT:
                raise
            await takeover.settle_lost_request(room, claim)
        if lease.job.status is Status.RUNNING:
            await ending.fail(room, lease, DarkroomError("undeliverable", "The job's message failed too often."))


async def _accepted(key: str, message_id: str, data: Mapping[str, Any]) -> str:
    intake = await accept.intake()
    room = await rooms()
    claim = await room.idempotency.claim(OWNER.owner, key, _hash(data), intake.files.job_id)
    if isinstance(claim, Existing):
        if not claim.same:
            used = DarkroomError("invalid_value", "This 'id' was used for another request.", param="id")
            return await _refused(f"{key}\n{message_id}", used)
        if await room.store.get(claim.job_id) is not None:
            return claim.job_id
        intake = await accept.intake(claim.job_id)  # whoever claimed it died before the job was there
    try:
        accepted = await accept.understand(intake, OWNER, data, kind=None)
        await accept.enter(intake, accepted, OWNER, Door.QUEUE, idempotency=row_of_key(key))
    except DarkroomError as error:
        intake.close()
        if error.code in NOT_THE_JOBS_FAULT:
            raise
        # The row first: another delivery of the message may have accepted it, under the same id and in this folder.
        if await _fail(room, intake.files.job_id, error, data, key):
            await intake.discard()
    return intake.files.job_id


async def _refused(key: str, error: DarkroomError) -> str:
    """A failed job for a message that cannot even be read; the same one when the message comes again."""
    room = await rooms()
    claim = await room.idempotency.claim(OWNER.owner, key, error.code, new_id(datetime.now(UTC)))
    await _fail(room, claim.job_id, error, {}, key)
    return claim.job_id


async def _fail(room: Rooms, job_id: str, error: DarkroomError, data: Mapping[str, Any], key: str) -> bool:
    kind = "edit" if data.get("kind") == "edit" else "generate"
    return await ending.refuse(
        room, job_id, error, door=Door.QUEUE, owner=OWNER.owner, kind=kind, idempotency=row_of_key(key)
    )


def _hash(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
