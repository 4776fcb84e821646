"""From what a door read to an accepted job: validated, its request and sources stored, its row written, then queued.

1. `intake()` opens the job's folder before its row exists, so that files go to their blobs as they arrive.
2. `understand` turns the door's data into an `ImageRequest`; sources that came as text or blob name are stored, the
   mask of its boxes is drawn, and pixels that are to be preserved are looked at.
3. `accept` writes `request.json`, then the row; a queued job's message goes out last, and the timer repeats it when
   this process died in between.

Whatever storing could refuse later (metadata above all) is refused here: nothing the caller sent may make storing
fail after the image was paid for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import DarkroomError
from shared.images import boxes
from shared.images import request as requests
from shared.images.request import ImageRequest
from shared.images.sources import Source
from shared.jobs.files import AcceptedRequest
from shared.jobs.intake import Intake
from shared.jobs.job import Door, Job, is_id, new_id, new_job, new_runner
from shared.model import deployments
from shared.pipeline import derived, joining, repeats, results, urls
from shared.pipeline.repeats import NOTHING, Asked
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import tracing
from shared.platform.principals import Caller
from shared.settings import settings

log = logging.getLogger("darkroom")

_NEVER_READABLE = ("requests", "azure-webjobs-", "app-package-")
TYPICAL_SECONDS = {"low": 15.0, "medium": 30.0, "high": 60.0}
"""What a generation usually takes, by quality (the API reference, section 5: 10 to 30 s typical, up to 60 s)."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted job that waits in the queue, and the poll token minted for the answer."""

    job: Job
    token: str
    joined: bool = False
    """The job is an earlier request's, of which this one is a repeat."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A job for a caller who waits: this process runs it, unless the request `joined` another's."""

    job: Job
    joined: bool


async def intake(job_id: str | None = None) -> Intake:
    """The folder of a job to come, under a new id or the one that was kept for it."""
    return Intake((await rooms()).files(job_id or new_id(datetime.now(UTC))))


async def understand(
    intake: Intake,
    caller: Caller,
    data: Mapping[str, Any],
    *,
    kind: str | None,
    deployment: str | None = None,
    images: Sequence[Source] = (),
    mask: Source | None = None,
) -> AcceptedRequest:
    """The request behind `data` (a JSON body, or the text fields of a form whose files are `images` and `mask`).

    Raises `DarkroomError` naming the field when it cannot be accepted.
    """
    request = parse(data, kind=kind, deployment=deployment, images=images, mask=mask)
    request = await _store_sources(intake, caller, request)
    if request.boxes:
        request = await _with_drawn_mask(intake, request)
    model = deployments.models(settings().deployments)[request.model]
    await intake.check(model)
    if request.derives:
        request = await derived.prepare(intake, request, model)
    accepted = AcceptedRequest(request, tuple(intake.images), intake.mask)
    results.target(accepted, model, intake.files.job_id, datetime.now(UTC), 1)
    return accepted


def parse(
    data: Any,
    *,
    kind: str | None,
    deployment: str | None = None,
    images: Sequence[Source] = (),
    mask: Source | None = None,
) -> ImageRequest:
    """The request behind `data`, checked as far as nobody has to be asked: `understand` without the sources."""
    current = settings()
    request = requests.parse(
        data,
        kind=kind,
        deployments=deployments.models(current.deployments),
        max_prompt_chars=current.max_prompt_chars,
        deployment=deployment,
        images=images,
        mask=mask,
        size_fit=current.size_fit,
    )
    urls.check(request)
    derived.check(request)
    return request


@tracing.traced("accept")
async def submit(intake: Intake, accepted: AcceptedRequest, caller: Caller, asked: Asked = NOTHING) -> Submitted:
    """Accept the request as a job that runs through the queue, or join that of the request it repeats.

    Raises `idempotency_key_reused`.
    """
    room = await rooms()
    place = await joining.place(room, intake, accepted, caller, asked)
    token = secrets.token_urlsafe(32)
    hashed = token_hash(token)
    job = place.job or await room.store.create(
        await store(place.intake, accepted, caller, Door.JOBS, token_hashes=(hashed,), idempotency=place.row)
    )
    if hashed not in job.token_hashes:
        return Submitted(await room.store.add_token(job.id, hashed), token, joined=True)
    await send(room, job.id)
    return Submitted(job, token)


async def send(room: Rooms, job_id: str) -> None:
    """Send the message of an accepted job. One that is not taken refuses nobody: the request would be sent again while
    the timer finds and runs this job."""
    try:
        await room.queue.submit(job_id)
    except DarkroomError as error:
        log.warning("the message of job %s was not taken (%s); the timer sends another", job_id, error.code)


@tracing.traced("accept")
async def enter(intake: Intake, accepted: AcceptedRequest, caller: Caller, door: Door, *, idempotency: str = "") -> Job:
    """Accept the request as a job for whoever is about to deliver it: no message is sent."""
    room = await rooms()
    return await room.store.create(await store(intake, accepted, caller, door, idempotency=idempotency))


async def store(
    intake: Intake,
    accepted: AcceptedRequest,
    caller: Caller,
    door: Door,
    *,
    token_hashes: tuple[str, ...] = (),
    runner: str | None = None,
    batch: str | None = None,
    idempotency: str = "",
) -> Job:
    """Write the request's blob; the job whose row is to be written next."""
    await intake.files.put_request(accepted)
    intake.keep()
    return new_job(
        kind=accepted.request.kind,
        door=door,
        owner=caller.owner,
        now=datetime.now(UTC),
        id=intake.files.job_id,
        request_hash=accepted.content_hash(),
        token_hashes=token_hashes,
        runner=runner,
        batch=batch,
        callback=accepted.request.callback_url is not None,
        idempotency=idempotency,
        traceparent=tracing.current(),
    )


async def joined(intake: Intake, accepted: AcceptedRequest, caller: Caller, asked: Asked) -> Begun | None:
    """The job of the request that this one repeats, if it is there already: whoever joins it needs no turn of its own.

    Raises `idempotency_key_reused`.
    """
    job = await repeats.earlier(caller.owner, asked, accepted.content_hash())
    if job is None:
        return None
    await intake.discard()
    return Begun(job, joined=True)


@tracing.traced("accept")
async def begin(intake: Intake, accepted: AcceptedRequest, caller: Caller, asked: Asked = NOTHING) -> Begun:
    """Accept the request as a job this process runs at once, its row born with a lease of a new runner; or join that
    of the request it repeats. Raises `idempotency_key_reused`."""
    room = await rooms()
    place = await joining.place(room, intake, accepted, caller, asked)
    runner = new_runner()
    job = place.job or await room.store.create(
        await store(place.intake, accepted, caller, Door.HTTP, runner=runner, idempotency=place.row)
    )
    return Begun(job, joined=job.lease_owner != runner)


async def refuse_if_busy(accepted: AcceptedRequest, deadline: datetime) -> None:
    """Raises `rate_limit_exceeded`, before any job or slot exists, when the answer would come after `deadline`."""
    room = await rooms()
    able = deployments.candidates(settings().deployments, accepted.request.model)
    wait = await room.pacer.estimate_wait(able)
    if wait is None:
        raise DarkroomError("deployment_unavailable", "No deployment can serve this request; see /api/health/details.")
    patience = deadline - datetime.now(UTC) - timedelta(seconds=typical_seconds(accepted.request))
    if wait > max(patience, timedelta()):
        raise DarkroomError(
            "rate_limit_exceeded",
            f"The next free turn at the model is {wait.total_seconds():.0f} s away, too far for a synchronous answer. "
            "Retry later, or POST the request to /api/jobs.",
            retry_after=(wait - max(patience, timedelta())).total_seconds(),
        )


def typical_seconds(request: ImageRequest) -> float:
    return TYPICAL_SECONDS.get(request.quality, TYPICAL_SECONDS["high"])


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def _store_sources(intake: Intake, caller: Caller, request: ImageRequest) -> ImageRequest:
    until = asyncio.get_running_loop().time() + urls.SECONDS_FOR_ALL
    images = [await _stored(intake, caller, "image", source, until) for source in request.images]
    mask = await _stored(intake, caller, "mask", request.mask, until) if request.mask else None
    return request.with_sources(images, mask)


async def _with_drawn_mask(intake: Intake, request: ImageRequest) -> ImageRequest:
    """The request with the mask of its boxes, stored like one that came as a file."""
    first = intake.images[0]
    mask = await asyncio.to_thread(boxes.draw, request.boxes, first.width, first.height)

    async def drawn() -> AsyncIterator[bytes]:
        yield mask

    return request.with_sources(request.images, await intake.take("mask", drawn()))


async def _stored(intake: Intake, caller: Caller, field: str, source: Source, until: float) -> Source:
    param = source.param
    if source.data is not None:
        return await intake.take_text(field, source.data, param)
    if source.blob is not None:
        return await intake.take(field, _copied(caller, source.blob, param), param)
    if source.url is not None:
        async with aclosing(urls.fetched(source.url, param, until)) as pieces:
            return await intake.take(field, pieces, param)
    return source


async def _copied(caller: Caller, blob: str, param: str) -> AsyncIterator[bytes]:
    """The bytes of a blob the caller may read. One refusal for all reasons: what exists is nobody's business."""
    room = await rooms()
    refused = DarkroomError(
        "source_not_readable",
        "This blob cannot be read: its container is not in READABLE_CONTAINERS and it is no result or upload of yours, "
        "or it does not exist.",
        param=param,
    )
    if not await _readable(room, caller, blob):
        raise refused
    try:
        response = await room.blobs.read(blob)
    except DarkroomError as error:
        raise refused if error.code == "not_found" else error from error
    async with response:
        async for chunk in response.chunks():
            yield chunk


async def _readable(room: Rooms, caller: Caller, blob: str) -> bool:
    container, _, name = blob.partition("/")
    if container.startswith(_NEVER_READABLE):
        return False
    if container in settings().readable_containers:
        return True
    parts = name.split("/")
    if container == "uploads":
        if caller.sees_all:
            return True
        # Names within a folder that was handed out; any other folder's jobs are nobody's in particular.
        owner = await room.upload_owners.asked_by(parts[0]) if len(parts) == 2 else None
        return owner is not None and caller.may_see(owner)
    if container != "results" or len(parts) != 5 or not is_id(parts[3]):
        return False
    job = await room.store.get(parts[3])
    return job is not None and caller.may_see(job.owner)
