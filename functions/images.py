"""The OpenAI-compatible door: generations and edits, on the deployment paths and on v1.

A synchronous answer: the job is accepted, run at once in a task of its own, and answered from what was stored. A
request that repeats another one waits for that one's job and is answered the same.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

from functions import web
from functions.forms import Form, read_form
from shared.errors import DarkroomError
from shared.jobs.job import Job, Status
from shared.pipeline import accept, read, repeats, run, waiting
from shared.pipeline.accept import Begun
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
    begun = await _accept(req, kind, deployment, deadline)
    try:
        if not begun.joined:
            return await _render(await _run(begun.job, deadline))
        job = await waiting.for_end(begun.job, deadline, req.is_disconnected)
        response = await _render(job) if job.ended else _still_running(job)
    except TimeoutError:
        return _still_running(begun.job)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller's SDK must not try again by itself
        return _unfinished(begun.job, web.as_error("image answer", error))
    response.headers.update(web.REPLAYED)
    return response


async def _accept(req: Request, kind: str, deployment: str | None, deadline: datetime) -> Begun:
    """Read, check and accept the request. What was read is let go here: the call that follows takes minutes."""
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
        if joined := await accept.joined(intake, accepted, caller, asked):
            return joined
        await accept.refuse_if_busy(accepted, deadline)
        return await accept.begin(intake, accepted, caller, asked)
    except BaseException:
        await intake.discard()
        raise


async def _run(job: Job, deadline: datetime) -> Job:
    """Run `job` in a task that a caller who leaves does not cancel. Raises `TimeoutError` at the deadline."""
    task = asyncio.create_task(run.run_now(job, deadline))
    _running.add(task)
    task.add_done_callback(_ended)
    return await asyncio.wait_for(asyncio.shield(task), (deadline - datetime.now(UTC)).total_seconds())


def _ended(task: asyncio.Task[Job]) -> None:
    _running.discard(task)
    # Looked at here: nobody else may, and asyncio would log the message of what was never looked at.
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, DarkroomError):
        telemetry.log_unexpected("a synchronous job", error)


def _unfinished(job: Job, error: DarkroomError) -> Response:
    """The job exists and may have been paid for, but cannot be answered now: it is read later, not asked for again."""
    log.warning("job %s cannot be answered now: %s", job.id, error.code)
    return web.error_response(error, {"x-darkroom-job": job.id, "x-should-retry": "false"})


def _still_running(job: Job) -> Response:
    error = DarkroomError(
        "still_running",
        f"The image is not ready within the {settings().sync_budget_seconds:.0f} s of a synchronous answer. It is "
        f"still being made: read it at {settings().public_base_url}/api/jobs/{job.id}.",
    )
    return _unfinished(job, error)


async def _render(job: Job) -> Response:
    if job.status is not Status.SUCCEEDED:
        return _failure(job)
    body, headers = await read.answer(job)
    headers["content-length"] = str(body.length)
    return StreamingResponse(body.chunks(await read.blobs_client()), media_type="application/json", headers=headers)


def _failure(job: Job) -> Response:
    """Why the job failed. After a counted call the caller's SDK is told not to try again: that would pay twice."""
    if job.error is None:
        error = DarkroomError("canceled", f"Job {job.id} was canceled.")
    else:
        error = DarkroomError.from_row(dict(job.error))
    headers = {"x-darkroom-job": job.id}
    if job.attempts or error.code == "canceled":
        headers["x-should-retry"] = "false"
    return web.error_response(error, headers)
