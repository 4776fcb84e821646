"""The asynchronous job API: submit, poll, read, cancel; and the stored images of a job."""

from datetime import UTC, datetime
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response, StreamingResponse

from functions import ranges, web
from functions.forms import Form, read_form
from shared.delivery.results import sidecar
from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.pipeline import accept, cancel, read

blueprint = func.Blueprint()


@blueprint.route(route="api/jobs", methods=["POST"])
@web.door
async def submit_job(req: Request) -> Response:
    caller = web.caller(req)
    intake = await accept.intake()
    try:
        if web.content_type(req) == "multipart/form-data":
            form = await read_form(req, intake)
        else:
            form = Form(await web.json_body(req))
        accepted = await accept.understand(intake, caller, form.data, kind=None, images=form.images, mask=form.mask)
        submitted = await accept.submit(intake, accepted, caller)
    except BaseException:
        await intake.discard()
        raise
    return await _pending(submitted.job, submitted.token, accepted)


@blueprint.route(route="api/jobs/{id}", methods=["GET"])
@web.door
async def get_job(req: Request) -> Response:
    job = await read.find(req.path_params["id"], web.caller(req))
    return JSONResponse(await read.signed_document(job))


@blueprint.route(route="api/jobs/{id}", methods=["DELETE"])
@web.door
async def cancel_job(req: Request) -> Response:
    if unknown := set(req.query_params) - {"code"}:
        name = min(unknown)
        raise DarkroomError("unknown_parameter", f"Unknown parameter: '{name}'.", param=name)
    job = await cancel.cancel(await read.find(req.path_params["id"], web.caller(req)))
    return JSONResponse(await read.signed_document(job))


@blueprint.route(route="api/jobs/{id}/poll", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@web.door
async def poll_job(req: Request) -> Response:
    """Anonymous for the platform: the token in the URL is the only credential, since Power Automate polls without
    headers (MicrosoftDocs/architecture-center#4307)."""
    token = req.query_params.get("token", "")
    job = await read.find_by_token(req.path_params["id"], token)
    if not job.status.ended:
        return await _pending(job, token)
    return JSONResponse(await read.signed_document(job, token=token))


async def _pending(job: Job, token: str, accepted: AcceptedRequest | None = None) -> Response:
    """202 with what Logic Apps and Power Automate need to come back: an absolute Location and when."""
    headers = {
        "location": read.poll_url(job.id, token),
        "retry-after": str(read.retry_after(job, datetime.now(UTC))),
    }
    return JSONResponse(
        await read.signed_document(job, token=token, accepted=accepted), status_code=202, headers=headers
    )


@blueprint.route(route="api/images/{job}/{index}", methods=["GET", "HEAD"])
@web.door
async def get_image(req: Request) -> Response:
    image = await _image(req)
    etag = f'"{image["sha256"]}"'
    headers = {"etag": etag, "cache-control": "private, max-age=31536000, immutable", "accept-ranges": "bytes"}
    if _matches(req.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    size = int(image["bytes"])
    if req.method == "HEAD":
        return Response(headers={**headers, "content-length": str(size)}, media_type=image["content_type"])
    wanted = req.headers.get("range", "") if req.headers.get("if-range", etag) == etag else ""
    try:
        part = ranges.positions(wanted, size)
    except DarkroomError as error:
        return web.error_response(error, {"content-range": f"bytes */{size}"})
    first, last = part or (0, size - 1)
    headers["content-length"] = str(last - first + 1)
    if part:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    blob = await read.blob(image["blob"], byte_range=f"bytes={first}-{last}" if part else None)
    return StreamingResponse(
        web.closing(blob), status_code=blob.status, media_type=image["content_type"], headers=headers
    )


@blueprint.route(route="api/images/{job}/{index}/provenance", methods=["GET"])
@web.door
async def get_provenance(req: Request) -> Response:
    image = await _image(req)
    blob = await read.blob(sidecar(image["blob"]))
    return StreamingResponse(web.closing(blob), media_type="application/json")


async def _image(req: Request) -> dict[str, Any]:
    job = await read.find(req.path_params["job"], web.caller(req))
    index = req.path_params["index"]
    if not (index.isascii() and index.isdigit() and len(index) <= 2):
        raise DarkroomError("not_found", "An image is named by its index, from 0.", param="index")
    return await read.image(job, int(index))


def _matches(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
