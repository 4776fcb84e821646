"""The asynchronous job API: submit, poll, read, list, cancel, purge; and the stored images of a job."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.functions as func
from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response

from functions import preferences, ranges, web
from functions.forms import Form, read_form
from functions.patience import PatientResponse
from shared.delivery.results import sidecar
from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.pipeline import accept, cancel, listing, purge, read, repeats, waiting
from shared.settings import settings

blueprint = func.Blueprint()


@blueprint.route(route="api/jobs", methods=["POST"])
@web.door
async def submit_job(req: Request) -> Response:
    web.query(req)
    caller, asked = web.caller(req), repeats.asked(req.headers)
    budget = datetime.now(UTC) + timedelta(seconds=settings().sync_budget_seconds)
    intake = await accept.intake()
    try:
        if web.content_type(req) == "multipart/form-data":
            form = await read_form(req, intake)
        else:
            form = Form(await web.json_body(req, also="multipart/form-data"))
        accepted = await accept.understand(intake, caller, form.data, kind=None, images=form.images, mask=form.mask)
        submitted = await accept.submit(intake, accepted, caller, asked)
    except BaseException:
        await intake.discard()
        raise
    headers = web.REPLAYED if submitted.joined else {}
    if wait := preferences.wait_seconds(req.headers.getlist("prefer")):
        until = min(datetime.now(UTC) + timedelta(seconds=wait), budget)
        try:
            job = await waiting.for_end(submitted.job, until, req.is_disconnected)
            if job.ended:
                document = await read.signed_document(job, token=submitted.token)
                return JSONResponse(document, headers={**headers, "preference-applied": f"wait={wait}"})
        except Exception as error:  # noqa: BLE001 - accepted all the same: an error would make its caller ask again
            web.as_error("submit_job", error)
    return await _pending(submitted.job, submitted.token, accepted, headers)


@blueprint.route(route="api/jobs", methods=["GET"])
@web.door
async def list_jobs(req: Request) -> Response:
    caller = web.caller(req)
    return JSONResponse(await listing.page(caller, **web.query(req, "status", "limit", "continuation", "batch")))


@blueprint.route(route="api/jobs/{id}", methods=["GET"])
@web.door
async def get_job(req: Request) -> Response:
    web.query(req)
    job = await read.find(req.path_params["id"], web.caller(req))
    return JSONResponse(await read.signed_document(job))


@blueprint.route(route="api/jobs/{id}", methods=["DELETE"])
@web.door
async def cancel_job(req: Request) -> Response:
    """Cancels a job, or with `purge=true` removes what is kept of one that has ended."""
    move = purge.purge if _flag(web.query(req, "purge"), "purge") else cancel.cancel
    job = await move(await read.find(req.path_params["id"], web.caller(req)))
    return JSONResponse(await read.signed_document(job))


def _flag(query: dict[str, str], name: str) -> bool:
    if query.get(name, "false") not in ("true", "false"):
        raise DarkroomError("invalid_value", f"'{name}' must be true or false.", param=name)
    return query.get(name) == "true"


@blueprint.route(route="api/jobs/{id}/poll", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
@web.door
async def poll_job(req: Request) -> Response:
    """Anonymous for the platform: the token in the URL is the only credential, since Power Automate polls without
    headers (MicrosoftDocs/architecture-center#4307)."""
    token = web.query(req, "token").get("token", "")
    job = await read.find_by_token(req.path_params["id"], token)
    if not job.status.ended:
        return await _pending(job, token)
    return JSONResponse(await read.signed_document(job, token=token))


async def _pending(
    job: Job, token: str, accepted: AcceptedRequest | None = None, also: Mapping[str, str] | None = None
) -> Response:
    """202 with what Logic Apps and Power Automate need to come back: an absolute Location and when; and `also`."""
    headers = {
        **(also or {}),
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
    return PatientResponse(
        web.closing(blob), status_code=blob.status, media_type=image["content_type"], headers=headers
    )


@blueprint.route(route="api/images/{job}/{index}/provenance", methods=["GET"])
@web.door
async def get_provenance(req: Request) -> Response:
    image = await _image(req)
    blob = await read.blob(sidecar(image["blob"]))
    return PatientResponse(web.closing(blob), media_type="application/json")


async def _image(req: Request) -> dict[str, Any]:
    query = web.query(req, "derived")
    job = await read.find(req.path_params["job"], web.caller(req))
    index = _position(req.path_params["index"], "index")
    return await read.image(job, index, _position(query["derived"], "derived") if "derived" in query else None)


def _position(text: str, param: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2):
        raise DarkroomError("not_found", f"'{param}' is a position, from 0.", param=param)
    return int(text)


def _matches(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
