"""The batch door: many requests at once over HTTP, and the queue whose messages make them jobs."""

from collections.abc import Mapping

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from functions import json_lines, web
from shared.jobs.batch import Batch
from shared.jobs.batches import MOST_REQUESTS
from shared.pipeline import batches, fan_out, read, repeats
from shared.platform import telemetry

blueprint = func.Blueprint()


@blueprint.route(route="api/batches", methods=["POST"])
@web.door
async def submit_batch(req: Request) -> Response:
    web.query(req)
    caller, asked = web.caller(req), repeats.asked(req.headers)
    if web.content_type(req) in json_lines.MEDIA_TYPES:
        body = batches.Body(*await json_lines.read_lines(req, MOST_REQUESTS))
    else:
        body = batches.read(await web.json_body(req, also=json_lines.MEDIA_TYPES[0]))
    submitted = await batches.submit(await batches.check(body), caller, asked)
    return _answer(submitted.batch, 202, web.REPLAYED if submitted.joined else {})


@blueprint.route(route="api/batches/{id}", methods=["GET"])
@web.door
async def get_batch(req: Request) -> Response:
    web.query(req)
    return _answer(await batches.find(req.path_params["id"], web.caller(req)))


@blueprint.route(route="api/batches/{id}", methods=["DELETE"])
@web.door
async def cancel_batch(req: Request) -> Response:
    web.query(req)
    return _answer(await batches.cancel(await batches.find(req.path_params["id"], web.caller(req))))


@blueprint.queue_trigger(arg_name="message", queue_name="image-batches", connection="STORAGE")
@telemetry.without_words
async def fan_out_batch(message: func.QueueMessage) -> None:
    """Make jobs of a batch's requests, or cancel them. What fails for want of storage raises, and comes again."""
    await fan_out.deliver(message.get_body())


@blueprint.queue_trigger(arg_name="message", queue_name="image-batches-poison", connection="STORAGE")
@telemetry.without_words
async def rest_batch(message: func.QueueMessage) -> None:
    """Send the message of a batch that the platform gave up again, later."""
    await fan_out.rest(message.get_body())


def _answer(batch: Batch, status: int = 200, also: Mapping[str, str] | None = None) -> Response:
    """Without a Location: Logic Apps would poll it, and take the first answer that is not 202 for the end."""
    headers = {} if batch.finished_at else {"retry-after": str(read.POLL_SECONDS)}
    return JSONResponse(batches.document(batch), status_code=status, headers={**headers, **(also or {})})
