"""One request of a batch made into a job: its sources and itself stored, its row still to be written by the fan-out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.images.sources import Source
from shared.jobs.batch import Batch
from shared.jobs.batches import stillborn
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Door, Job, new_job
from shared.pipeline import accept, observing
from shared.pipeline.rooms import Rooms
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT
from shared.platform import tracing
from shared.platform.principals import Caller
from shared.platform.telemetry import log_unexpected


@observing.born_of_a_batch
async def prepare(room: Rooms, batch: Batch, job_id: str, line: bytes | None, *, check: Callable[[], None]) -> Job:
    """The job of the request in `line` (JSON; None when it is missing), or one that has failed when it cannot be run.

    Raises what storage raises, and what `check` raises once the batch is another runner's: a source may take long to
    come, and the folder may then be that of a job which was accepted. Whoever does it again under the same id writes
    the same blobs.
    """
    caller = Caller(batch.owner, sees_all=batch.sees_all)
    intake = await accept.intake(job_id)
    data: Any = None
    try:
        if line is None:
            raise DarkroomError("internal_error", "The stored request of this job is missing.")
        data = await asyncio.to_thread(json.loads, line)
        accepted = await accept.understand(intake, caller, data, kind=None)
        check()
        return await accept.store(intake, accepted, caller, Door.BATCH, batch=batch.id)
    except DarkroomError as error:
        if error.code in NOT_THE_JOBS_FAULT:
            raise
        refusal = error
    except Exception as error:  # noqa: BLE001 - one request must not keep the others of its batch from running
        log_unexpected("a request of a batch", error)
        refusal = DarkroomError("internal_error", "Darkroom failed; the log of the app says why.")
    finally:
        intake.close()
    check()
    await intake.files.discard()
    return await _refused(room, batch, job_id, data, refusal)


async def _refused(room: Rooms, batch: Batch, job_id: str, data: Any, refusal: DarkroomError) -> Job:
    """A failed job, with its request beside it as far as it can be understood: its callback is to be called."""
    request: ImageRequest | None = None
    with suppress(DarkroomError):
        request = _without_data(accept.parse(data, kind=None))
    if request is not None:
        await room.files(job_id).put_request(AcceptedRequest(request))
    now = datetime.now(UTC)
    job = new_job(
        kind=request.kind if request else "generate",
        door=Door.BATCH,
        owner=batch.owner,
        now=now,
        id=job_id,
        batch=batch.id,
        callback=request is not None and request.callback_url is not None,
        traceparent=tracing.current(),
    )
    return stillborn(job, refusal, now)


def _without_data(request: ImageRequest) -> ImageRequest:
    """The request without the images in it, which nobody will use."""

    def emptied(source: Source) -> Source:
        return Source(data="") if source.data is not None else source

    return request.with_sources([*map(emptied, request.images)], emptied(request.mask) if request.mask else None)
