"""The OpenAI-compatible door: generations and edits, on the deployment paths and on v1.

The job is accepted and run at once, in a task of its own that no caller's departure ends. The model's answer passes on
to the caller while it arrives and is stored; where it had to be made into another one, the caller gets what was stored.
A request that repeats another one waits for that one's job and is answered the same.
"""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from functions import streaming, web
from functions.forms import Form, read_form
from functions.patience import PatientResponse
from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job, Status
from shared.pipeline import accept, read, repeats, run, waiting
from shared.pipeline.accept import Begun
from shared.pipeline.relay import Relay
from shared.platform import server_sent_events as sse
from shared.platform import telemetry
from shared.settings import settings

blueprint = func.Blueprint()
log = logging.getLogger("darkroom")

_running: set[asyncio.Task[Job]] = set()


@blueprint.route(route="openai/deployments/{deployment}/images/generations", methods=["POST"])
@web.door
async def image_generations(req: Request) -> Response:
    return await _answer(req, "generate", req.path_params["deployment"])


@blueprint.route(route="openai/deployments/{deployment}/images/edits", methods=["POST"])
@web.door
async def image_edits(req: Request) -> Response:
    return await _answer(req, "edit", req.path_params["deployment"])


@blueprint.route(route="openai/v1/images/generations", methods=["POST"])
@web.door
async def image_generations_v1(req: Request) -> Response:
    return await _answer(req, "generate", None)


@blueprint.route(route="openai/v1/images/edits", methods=["POST"])
@web.door
async def image_edits_v1(req: Request) -> Response:
    return await _answer(req, "edit", None)


async def _answer(req: Request, kind: str, deployment: str | None) -> Response:
    deadline = datetime.now(UTC) + timedelta(seconds=settings().sync_budget_seconds)
    begun, accepted = await _accept(req, kind, deployment, deadline)
    request = accepted.request
    relay = Relay(streamed=request.stream, adapted=request.adapted, until_stored=settings().compat_wait_for_storage)
    passes = request.response_format != "url" and not request.derives
    work = asyncio.create_task(_work(begun, accepted, deadline, relay, req, passes=passes))
    _running.add(work)
    work.add_done_callback(_ended)
    response: Response | None = None
    try:
        response = await _respond(begun, request, relay, work, deadline)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller's SDK must not try again by itself
        response = _unfinished(begun.job, web.as_error("image answer", error))
    finally:
        if not isinstance(response, streaming.RelayedResponse):
            relay.window.drop()  # nobody will read from it, and the run is not to wait for that
    if begun.joined:
        response.headers.update(web.REPLAYED)
    return response


async def _accept(req: Request, kind: str, deployment: str | None, deadline: datetime) -> tuple[Begun, AcceptedRequest]:
    """Read, check and accept the request. Its body is let go here: the call that follows takes minutes."""
    caller, asked = web.caller(req), repeats.asked(req.headers)
    intake = await accept.intake()
    try:
        files = "multipart/form-data" if kind == "edit" else ""
        if files and web.content_type(req) == files:
            form = await read_form(req, intake)
        else:
            form = Form(await web.json_body(req, also=files))
        accepted = await accept.understand(
            intake, caller, form.data, kind=kind, deployment=deployment, images=form.images, mask=form.mask
        )
        begun = await accept.joined(intake, accepted, caller, asked)
        if begun is None:
            await accept.refuse_if_busy(accepted, deadline)
            begun = await accept.begin(intake, accepted, caller, asked)
        return begun, accepted
    except BaseException:
        await intake.discard()
        raise


async def _work(
    begun: Begun, accepted: AcceptedRequest, deadline: datetime, relay: Relay, req: Request, *, passes: bool
) -> Job:
    """Run the job, or wait for the one that was joined, in a task that a caller who leaves does not cancel."""
    error: DarkroomError | None = web.internal_error()
    try:
        if begun.joined:
            job = await waiting.for_end(begun.job, deadline, req.is_disconnected)
        else:
            job = await run.run_now(begun.job, deadline, relay if passes else None, accepted)
        error = None if job.status is Status.SUCCEEDED else streaming.failure(job)
    except DarkroomError as raised:
        error = raised
        raise
    finally:
        await relay.over(error)
    return job


def _ended(task: asyncio.Task[Job]) -> None:
    _running.discard(task)
    # Looked at here: nobody else may, and asyncio would log the message of what was never looked at.
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, DarkroomError):
        telemetry.log_unexpected("a synchronous job", error)


async def _respond(
    begun: Begun, request: ImageRequest, relay: Relay, work: asyncio.Task[Job], deadline: datetime
) -> Response:
    """What there is to answer first: the answer as it begins to pass through `relay`, or the end of the job."""
    # A stream is held back until it would have to be kept alive: until then a refusal can still be one by its status.
    left = max((deadline - datetime.now(UTC)).total_seconds(), 0.0)
    await _first(work, relay, min(left, sse.KEEP_ALIVE_SECONDS) if request.stream else left)
    headers: dict[str, str] = {}
    if work.done():
        job = work.result()
        if job.status is not Status.SUCCEEDED:
            return _failure(job)
        if not relay.passes and not request.stream:
            return await _render(job, request)
        with contextlib.suppress(DarkroomError):  # what has come is not withheld over what is said beside it
            headers = await read.headers(job, relay.result)
    if request.stream:
        return streaming.events(relay, begun.job.id, request, work, headers)
    if relay.passes:
        return streaming.document(relay, begun.job.id, headers)
    return _unfinished(begun.job, streaming.still_running(begun.job))


async def _first(work: asyncio.Task[Job], relay: Relay, seconds: float) -> None:
    """Wait until `work` is done or its answer has begun to pass, `seconds` at the most."""
    begun = [asyncio.ensure_future(event.wait()) for event in (relay.opened, relay.window.full)]
    try:
        await asyncio.wait((work, *begun), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in begun:
            waiter.cancel()


def _unfinished(job: Job, error: DarkroomError) -> Response:
    """The job exists and may have been paid for, but cannot be answered now: it is read later, not asked for again."""
    log.warning("job %s cannot be answered now: %s", job.id, error.code)
    return web.error_response(error, {"x-darkroom-job": job.id, "x-should-retry": "false"})


async def _render(job: Job, request: ImageRequest) -> Response:
    body, headers = await read.answer(job, request)
    headers["content-length"] = str(body.length)
    return PatientResponse(body.chunks(await read.blobs_client()), media_type="application/json", headers=headers)


def _failure(job: Job) -> Response:
    """Why the job did not succeed. After a counted call the caller's SDK is told not to try again: that would pay
    twice."""
    error = streaming.failure(job)
    if not job.ended:
        return _unfinished(job, error)
    headers = {"x-darkroom-job": job.id}
    if job.attempts or error.code == "canceled":
        headers["x-should-retry"] = "false"
    return web.error_response(error, headers)
