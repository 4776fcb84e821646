"""The events of a job as server-sent events, for a page that shows its picture emerge."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response

from functions import web
from functions.patience import PatientResponse
from shared.pipeline import following, read
from shared.pipeline.following import Told
from shared.platform import server_sent_events as sse

blueprint = func.Blueprint()

_RETRY = b"retry: 1000\n\n"
_HEADERS = {**sse.HEADERS, "cache-control": "no-store"}  # its links open what they name


@blueprint.route(route="api/jobs/{id}/events", methods=["GET"])
@web.door
async def get_job_events(req: Request) -> Response:
    """204 is what makes an EventSource stop asking: to one that has the end there is nothing more to tell
    (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    web.query(req)
    job = await read.find(req.path_params["id"], web.caller(req))
    events = await following.follow(job, req.headers.get(following.LAST_EVENT_ID, ""))
    if events is None:
        return Response(status_code=204)
    return PatientResponse(_stream(events), media_type=sse.MEDIA_TYPE, headers=_HEADERS)


async def _stream(events: AsyncGenerator[Told | None]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        yield _RETRY
        async for event in events:
            yield sse.KEEP_ALIVE if event is None else sse.written(event.name, event.data, event_id=event.id)
