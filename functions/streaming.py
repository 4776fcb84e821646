"""Answers that leave while they come into being: the model's document as it arrives, and streams of events."""

import asyncio
import logging
from collections.abc import AsyncIterator

from azurefunctions.extensions.http.fastapi import Response
from starlette.types import Send

from functions import web
from functions.patience import PatientResponse
from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.jobs.job import Job, Status
from shared.pipeline import read
from shared.pipeline.relay import Relay, error_event
from shared.pipeline.window import BrokenOffError, Window
from shared.platform import server_sent_events as sse
from shared.settings import settings

log = logging.getLogger("darkroom")


class RelayedResponse(PatientResponse):
    """Sends what is in a window. Cut off, without an end, when the answer breaks off or the window has let its reader
    go: then nobody can take a part of it for the whole."""

    def __init__(self, window: Window, body: AsyncIterator[bytes], headers: dict[str, str], media_type: str) -> None:
        super().__init__(body, headers=headers, media_type=media_type)
        self._window = window

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except BrokenOffError:
            if self._window.gone.is_set():
                log.warning("a caller took its answer too slowly; it was dropped, its job was not")
        finally:
            self._window.drop()


def document(relay: Relay, job_id: str, headers: dict[str, str]) -> Response:
    """The model's document, as it passes through `relay`."""
    if relay.length is not None:
        headers = {**headers, "content-length": str(relay.length)}
    return RelayedResponse(
        relay.window, _pieces(relay.window), {"x-darkroom-job": job_id, **headers}, "application/json"
    )


async def _pieces(window: Window) -> AsyncIterator[bytes]:
    while piece := await window.take():
        yield piece


def events(
    relay: Relay, job_id: str, request: ImageRequest, run: asyncio.Task[Job], headers: dict[str, str]
) -> Response:
    """The events that pass through `relay`, and how `run` ends."""
    headers = {"x-darkroom-job": job_id, **sse.HEADERS, **headers}
    return RelayedResponse(relay.window, _events(relay, request, run), headers, sse.MEDIA_TYPE)


async def _events(relay: Relay, request: ImageRequest, run: asyncio.Task[Job]) -> AsyncIterator[bytes]:
    while True:
        try:
            piece = await relay.window.take(sse.KEEP_ALIVE_SECONDS)
        except TimeoutError:
            if not relay.within_event:
                yield sse.KEEP_ALIVE
            continue
        if not piece:
            break
        yield piece
    if relay.passes or relay.told_error:
        return
    # Nothing came through: the request repeats another's, or the service has answered with a document.
    try:
        job = await run
        if job.status is not Status.SUCCEEDED:
            raise failure(job)
        body, _ = await read.answer(job, request, streamed=True)
        async for piece in body.chunks(await read.blobs_client()):
            yield piece
    except Exception as error:  # noqa: BLE001 - the answer has begun: whatever it is can only be told as an event
        yield error_event(web.as_error("image stream", error))


def failure(job: Job) -> DarkroomError:
    """Why `job` did not succeed."""
    if job.error is not None:
        return DarkroomError.from_row(dict(job.error))
    if job.ended:
        return DarkroomError("canceled", f"Job {job.id} was canceled.")
    return still_running(job)


def still_running(job: Job) -> DarkroomError:
    return DarkroomError(
        "still_running",
        f"The image is not ready within the {settings().sync_budget_seconds:.0f} s of a synchronous answer. It is "
        f"still being made: read it at {settings().public_base_url}/api/jobs/{job.id}.",
    )
