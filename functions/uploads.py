"""The uploads door: blob events, the queue of folders to be looked at, what became poison of both; and links to upload
by."""

import logging
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from functions import web
from functions.blob_reference import BlobReference
from shared.errors import DarkroomError
from shared.jobs.queue import parse_message
from shared.jobs.uploads import blobs_of, folder_of
from shared.pipeline import upload_links, uploads
from shared.platform import telemetry

log = logging.getLogger("darkroom")

blueprint = func.Blueprint()


@blueprint.blob_trigger(arg_name="blob", path="uploads/{name}", connection="STORAGE", source=func.BlobSource.EVENT_GRID)
@telemetry.without_words
async def announce_upload(blob: BlobReference) -> None:
    """Take no body, and look at nothing: an event is one of several for a folder, in any order."""
    await uploads.announced(blob.name)


@blueprint.queue_trigger(arg_name="message", queue_name="image-uploads", connection="STORAGE")
@telemetry.without_words
async def look_at_upload(message: func.QueueMessage) -> None:
    """Make the job of a folder that is whole; a worker is not held for the model's call. Events that Event Grid puts
    here itself, in a private network, are announced as the blob trigger does."""
    if blobs := blobs_of(_json(message)):
        for blob in blobs:
            await uploads.announced(blob)
    elif found := _folder(message):
        await uploads.look(*found)


@blueprint.queue_trigger(arg_name="message", queue_name="image-uploads-poison", connection="STORAGE")
@telemetry.without_words
async def repeat_upload(message: func.QueueMessage) -> None:
    """Look later at a folder that could not be looked at five times."""
    if blobs := blobs_of(_json(message)):
        for blob in blobs:
            await uploads.event_lost(blob)
    elif found := _folder(message):
        await uploads.poisoned(*found)


@blueprint.queue_trigger(arg_name="message", queue_name="webjobs-blobtrigger-poison", connection="STORAGE")
@telemetry.without_words
async def repeat_announcement(message: func.QueueMessage) -> None:
    """Announce again the blob of an event that the platform gave up. Its record names FunctionId, BlobType,
    ContainerName, BlobName and ETag (azure-sdk-for-net, BlobTriggerMessage)."""
    record = _json(message)
    if record.get("ContainerName") == "uploads":
        await uploads.event_lost(str(record.get("BlobName", "")))


@blueprint.route(route="api/uploads", methods=["POST"])
@web.door
async def create_upload(req: Request) -> Response:
    web.query(req)
    caller = web.caller(req)
    return JSONResponse(await upload_links.hand_out(caller, await web.json_body(req)), status_code=201)


def _folder(message: func.QueueMessage) -> tuple[str, int] | None:
    found = folder_of(_json(message))
    if found is None:
        log.warning("message %s of the uploads queue names no folder; it is dropped", message.id)
    return found


def _json(message: func.QueueMessage) -> dict[str, Any]:
    """The object in a message; empty for what is none. Only the platform and this app write to these queues."""
    try:
        return parse_message(message.get_body())
    except DarkroomError:
        return {}
