"""Where the job of a request is to be that may be a repeat: in its own folder, in that of the claim it found, or
nowhere, since the job is there.

Who comes in: `accept`, when a request is understood and its sources are stored under an id of its own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.intake import Intake
from shared.jobs.job import Job
from shared.pipeline import repeats
from shared.pipeline.repeats import NOTHING, Asked
from shared.pipeline.rooms import Rooms
from shared.platform.principals import Caller


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a job to be made and the row of its claim; or the `job` that the request joins."""

    intake: Intake
    row: str = ""
    job: Job | None = None


async def place(room: Rooms, intake: Intake, accepted: AcceptedRequest, caller: Caller, asked: Asked) -> Place:
    """Claim the place of the request `accepted`, whose sources are in `intake`. Raises `idempotency_key_reused`."""
    if asked == NOTHING:
        return Place(intake)
    # A claim may be written though its answer is lost, and a repeat may then use this folder: from here on it stays.
    intake.keep()
    own_id = intake.files.job_id
    try:
        claimed = await repeats.claim(
            caller.owner, asked, accepted.content_hash(), own_id, replaceable=repeats.job_came_to_nothing
        )
    except DarkroomError as error:
        if error.code == "idempotency_key_reused":
            await _drop(intake)
        raise
    if claimed.id == own_id:
        return Place(intake, claimed.row)
    job = await room.store.get(claimed.id)
    theirs = Intake(room.files(claimed.id))
    if job is None:
        await theirs.files.copy_sources(intake.files, accepted)
    await _drop(intake)
    return Place(theirs, claimed.row, job)


async def _drop(intake: Intake) -> None:
    """Remove the files of a request whose job is another's; storage that fails here leaves them to retention."""
    with contextlib.suppress(DarkroomError):
        await intake.files.discard()
