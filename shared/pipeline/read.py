"""What can be read of a job: its document, its answer in the shape of the images API, its images and their sidecars."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.delivery import answers
from shared.delivery.answers import EncodedImages
from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.jobs import document as documents
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job, Status, is_id
from shared.pipeline.accept import token_hash
from shared.pipeline.rooms import Rooms, rooms
from shared.platform.blobs import BlobClient, BlobResponse
from shared.platform.principals import Caller
from shared.settings import settings

POLL_SECONDS = 10
"""What `Retry-After` tells a poller of a job that is not expected to end sooner."""


async def find(job_id: str, caller: Caller) -> Job:
    """The caller's job. Raises `not_found` for an id that is none, is unknown, or is another's."""
    job = await _get(job_id)
    if job is None or not caller.may_see(job.owner):
        raise _unknown_job()
    return job


async def find_by_token(job_id: str, token: str) -> Job:
    """The job a poll token opens. Raises `not_found`, `invalid_poll_token`."""
    job = await _get(job_id)
    if job is None:
        raise _unknown_job()
    given = token_hash(token)
    matches = [hmac.compare_digest(given, known) for known in job.token_hashes]  # all compared: constant time
    if not any(matches):
        raise DarkroomError("invalid_poll_token", "The poll URL's token does not open this job.", param="token")
    return job


async def _get(job_id: str) -> Job | None:
    return await (await rooms()).store.get(job_id) if is_id(job_id) else None


def _unknown_job() -> DarkroomError:
    return DarkroomError("not_found", "There is no such job.", param="id")


async def document(
    room: Rooms, job: Job, accepted: AcceptedRequest | None = None, result: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The job document without signatures: what events carry. A job whose request was lost or purged still has one.

    What is not given of the stored request and result is read.
    """
    files = room.files(job.id)
    if accepted is None and job.purged_at is None:
        try:
            accepted = await files.get_request()
        except DarkroomError as error:
            if error.code != "internal_error":
                raise
    if result is None and job.status.ended and job.purged_at is None:
        result = await files.get_result()
    return documents.build(job, accepted, result, blob_base=settings().blob_service_uri, job_base=job_base())


def job_base() -> str:
    """What the address of every job begins with."""
    return f"{settings().public_base_url}/api/jobs"


async def signed_document(
    job: Job, *, token: str | None = None, accepted: AcceptedRequest | None = None
) -> dict[str, Any]:
    """The job document for its caller: image URLs signed; `links.poll` only where `token` is given.

    A caller that has just been `accepted` is told so without asking storage again: a failure here would make it send
    its request once more.
    """
    room = await rooms()
    data = await document(room, job, accepted)
    await sign(room, data)
    if token:
        data["links"]["poll"] = poll_url(job.id, token)
    return data


async def sign(room: Rooms, data: dict[str, Any]) -> None:
    """Put links that work for `RESULT_LINK_MINUTES` in place of the addresses in a job document."""
    for image in data["images"]:
        for one in (image, *image["derived"]):
            one["url"] = await room.links.sign(one["blob"])


def poll_url(job_id: str, token: str) -> str:
    return f"{job_base()}/{job_id}/poll?token={token}"


async def answer(job: Job, request: ImageRequest, *, streamed: bool = False) -> tuple[EncodedImages, dict[str, str]]:
    """The images API's answer to `request` by a job that succeeded, its own or that of the request it repeats; as a
    document or as the end of a stream, with the headers that tell of the job. Raises `purged`."""
    refuse_purged(job)
    room = await rooms()
    result = await room.files(job.id).get_result()
    if job.status is not Status.SUCCEEDED or result is None:
        raise DarkroomError("internal_error", f"Job {job.id} has no answer.")
    body = dict(result["answer"])
    images = _asked_for(result)
    if request.response_format == "url":
        body["data"] = [await _linked(room, item, images) for item in body["data"]]
    if request.derives and "size" in body:
        body["size"] = request.fitted_size
    if request.adapted:
        body["darkroom"] = {"adapted": [dict(entry) for entry in request.adapted]}
    headers = _headers(job, result)
    if streamed:
        return answers.encode_events(job.kind, body, images), headers
    return answers.encode(body, images), headers


async def headers(job: Job, result: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The headers that tell of a job that succeeded. Its `result` (`result.json`) is read where it is not given."""
    result = result or await (await rooms()).files(job.id).get_result()
    return _headers(job, result) if result else {}


def _headers(job: Job, result: Mapping[str, Any]) -> dict[str, str]:
    states = ",".join(image["provenance"]["state"] for image in _asked_for(result))
    told = {"x-darkroom-job": job.id, "x-darkroom-provenance": states}
    cost = result["cost"]
    if cost["amount"] is not None:
        told["x-darkroom-cost"] = f"{cost['amount']} {cost['currency']}"
    return told


def _asked_for(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images of a job that its caller asked for: what was derived of the model's, where anything was."""
    return [{**image, **image["derived"][0]} if image["derived"] else image for image in result["images"]]


async def _linked(room: Rooms, item: Any, images: list[dict[str, Any]]) -> Any:
    index = item.get("b64_json") if isinstance(item, dict) else None
    image = next((image for image in images if image["index"] == index), None)
    if image is None:
        return item
    rest = {name: value for name, value in item.items() if name != "b64_json"}
    return {"url": await room.links.sign(image["blob"]), **rest}


async def image(job: Job, index: int, derived: int | None = None) -> dict[str, Any]:
    """The stored image `index` of `job`, or one that was `derived` of it, by its position, as the job document lists
    it. Raises `not_found`, `purged`."""
    refuse_purged(job)
    result = await (await rooms()).files(job.id).get_result() if job.status.ended else None
    for entry in (result or {}).get("images", []):
        if entry["index"] == index:
            found: list[dict[str, Any]] = [entry] if derived is None else entry["derived"][derived : derived + 1]
            if found:
                return found[0]
            raise DarkroomError("not_found", f"Nothing {derived} was derived of image {index}.", param="derived")
    raise DarkroomError("not_found", f"Job {job.id} has no image {index}.", param="index")


def refuse_purged(job: Job) -> None:
    if job.purged_at is not None:
        raise DarkroomError("purged", f"Job {job.id} was purged: its request and its images are gone.", param="id")


async def blob(name: str, *, byte_range: str | None = None) -> BlobResponse:
    """A stored blob as a stream; the caller closes it. Raises `not_found`, `range_not_satisfiable`."""
    return await (await rooms()).blobs.read(name, byte_range=byte_range)


async def blobs_client() -> BlobClient:
    return (await rooms()).blobs


def retry_after(job: Job, now: datetime) -> int:
    """Seconds until a poll is worth while: by the slot of a waiting job, else a few."""
    if job.slot_at is not None and job.call_started_at is None:
        return max(2, min(60, round((job.slot_at - now).total_seconds()) + POLL_SECONDS))
    return POLL_SECONDS if job.status is Status.QUEUED else POLL_SECONDS // 2
