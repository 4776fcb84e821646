"""What is written beside the images of a job: their blob metadata, their sidecars, and `result.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.delivery.results import ResultTarget, StoredImage, write_sidecar
from shared.images import pricing
from shared.images.metadata import encode_metadata
from shared.images.pricing import Cost
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.model.client import Answer
from shared.pipeline.rooms import Rooms
from shared.settings import Deployment


def target(accepted: AcceptedRequest, job_id: str, created_at: datetime, attempt: int) -> ResultTarget:
    """Where and with what metadata the images of this attempt are stored. Raises what storage would refuse later."""
    request = accepted.request
    metadata = {"job": job_id, "model": request.model, "size": request.size, "quality": request.quality}
    if request.metadata:
        metadata["darkroom_metadata"] = encode_metadata(request.metadata)
    return ResultTarget(job_id, created_at, attempt, metadata)


def possibly_billed(accepted: AcceptedRequest, model: str) -> Cost | None:
    """What a call of unknown outcome may have cost: the estimate for the whole request."""
    sizes = [(image.width, image.height) for image in accepted.images]
    return pricing.cost(pricing.estimate(accepted.request, model, sizes), model)


def document(
    job: Job,
    images: Sequence[StoredImage],
    answer: Answer | None,
    cost: Cost | None,
    unknown: Cost | None = None,
) -> dict[str, Any]:
    """`result.json`: the images that were stored, usage and cost, and the answer's JSON for doors that repeat it.

    `call` numbers the call it came from, so that a runner that takes the job over knows the work as done.
    """
    body = answer.body if answer else {}
    items = _items(body)
    priced = cost or unknown
    return {
        "call": job.calls,
        "images": [_image(image, items.get(image.index, {})) for image in images],
        "usage": body.get("usage"),
        "cost": {
            "amount": str(cost.amount) if cost else None,
            "currency": priced.currency if priced else "USD",
            "possibly_billed": str(unknown.amount) if unknown else "0",
        },
        "answer": body or None,
    }


async def write_sidecars(
    room: Rooms,
    job: Job,
    accepted: AcceptedRequest,
    deployment: Deployment,
    images: Sequence[StoredImage],
    answer: Answer | None,
    result: Mapping[str, Any],
) -> None:
    """One `<index>.json` beside each image: where it came from, what it cost, and its whole manifest."""
    items = _items(answer.body if answer else {})
    stored_at = datetime.now(UTC)
    for image in images:
        item = items.get(image.index, {})
        await write_sidecar(
            room.blobs,
            image,
            {
                "job": job.id,
                "index": image.index,
                "blob": image.blob,
                "content_type": image.content_type,
                "width": image.width,
                "height": image.height,
                "bytes": image.bytes,
                "sha256": image.sha256,
                "request": accepted.public(job.id),
                "adapted": [dict(entry) for entry in accepted.request.adapted],
                "revised_prompt": item.get("revised_prompt"),
                "content_filter": _content_filter(item),
                "model": deployment.model,
                "deployment": deployment.name,
                "region": job.region,
                "service_request_id": answer.request_id if answer else None,
                "timings": {
                    "created_at": _time(job.created_at),
                    "started_at": _time(job.started_at),
                    "call_started_at": _time(job.call_started_at),
                    "stored_at": _time(stored_at),
                },
                "usage": result["usage"],
                "cost": result["cost"],
                "metadata": dict(accepted.request.metadata),
                "provenance": image.provenance.to_dict(),
            },
        )


def _items(body: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The `data` items of an answer by the index of their image."""
    data = body.get("data")
    if not isinstance(data, list):
        return {}
    return {item["b64_json"]: item for item in data if isinstance(item, dict) and isinstance(item.get("b64_json"), int)}


def _image(image: StoredImage, item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "index": image.index,
        "blob": image.blob,
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
        "bytes": image.bytes,
        "sha256": image.sha256,
        "revised_prompt": item.get("revised_prompt"),
        "content_filter": _content_filter(item),
        "derived": [],
        "provenance": image.provenance.summary(),
    }


def _content_filter(item: Mapping[str, Any]) -> dict[str, Any] | None:
    verdicts = {
        name.removesuffix("_filter_results"): item[name]
        for name in ("content_filter_results", "prompt_filter_results")
        if isinstance(item.get(name), dict)
    }
    return verdicts or None


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
