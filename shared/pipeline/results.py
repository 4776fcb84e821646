"""What is written beside the images of a job: their blob metadata, `result.json`, and their sidecars.

`result.json` holds all that a sidecar is made of, so that whoever takes a job over can finish what was begun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from shared.delivery.results import ResultTarget, StoredImage, write_sidecar
from shared.images import estimates, pricing
from shared.images.metadata import encode_metadata
from shared.images.pricing import Cost
from shared.jobs.document import timestamp
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job
from shared.model.client import Answer
from shared.pipeline import prices
from shared.pipeline.rooms import Rooms


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call of unknown outcome. `cost` is what it may have cost, None where that is not known: not nothing."""

    cost: Cost | None


def target(accepted: AcceptedRequest, model: str, job_id: str, created_at: datetime, attempt: int) -> ResultTarget:
    """Where and with what metadata the images of this attempt are stored. Raises what storage would refuse later."""
    request = accepted.request
    metadata = {"job": job_id, "model": quote(model), "size": request.size, "quality": request.quality}
    if request.metadata:
        metadata["darkroom_metadata"] = encode_metadata(request.metadata)
    return ResultTarget(job_id, created_at, attempt, metadata)


def unknown_outcome(accepted: AcceptedRequest, model: str) -> Unknown:
    """A call of unknown outcome, with the estimate for the whole request."""
    sizes = [(image.width, image.height) for image in accepted.images]
    usage = estimates.tokens_of(accepted.request, model, sizes).usage()
    return Unknown(pricing.cost(usage, model, prices.current()))


def document(
    job: Job, model: str, images: Sequence[StoredImage], answer: Answer | None, *, unknown: Unknown | None = None
) -> dict[str, Any]:
    """`result.json`: the images that were stored, usage and cost, and the answer's JSON for doors that repeat it.

    `answer` is None when none came whole, `unknown` the call where it may have been billed all the same (calls before
    it are added). `call` numbers the call all this came from, so that a runner that takes the job over knows the work
    as done.
    """
    body = answer.body if answer else {}
    items = _items(body)
    table = prices.current()
    cost = pricing.cost(body.get("usage"), model, table)
    return {
        "call": job.calls,
        "model": model,
        "images": [_image(image, items.get(image.index, {})) for image in images],
        "provenance": [image.provenance.to_dict() for image in images],
        "usage": body.get("usage"),
        "cost": {
            "amount": None,
            "currency": table.currency,
            **(cost.to_dict() if cost else {}),
            "possibly_billed": unknown_so_far(job, unknown) or None,
        },
        "call_started_at": timestamp(job.call_started_at),
        "stored_at": timestamp(datetime.now(UTC)),
        "request_id": answer.request_id if answer else None,
        "answer": body or None,
    }


def unknown_so_far(job: Job, more: Unknown | None) -> str:
    """What the job's calls of unknown outcome may have cost, with one `more`: `Job.possibly_billed`, which is empty as
    soon as that of one is not known."""
    if more is None or not job.possibly_billed:
        return job.possibly_billed
    return "" if more.cost is None else pricing.plain(Decimal(job.possibly_billed) + more.cost.amount)


async def write_sidecars(room: Rooms, job: Job, accepted: AcceptedRequest, result: Mapping[str, Any]) -> None:
    """A JSON beside each image, `<index>.json` beside the model's: where it came from, what it cost, and its whole
    manifest."""
    shared = {
        "request": accepted.public(job.id),
        "adapted": [dict(entry) for entry in accepted.request.adapted],
        "model": result["model"],
        "deployment": job.deployment,
        "region": job.region,
        "service_request_id": result["request_id"],
        "timings": {
            "created_at": timestamp(job.created_at),
            "started_at": timestamp(job.started_at),
            "call_started_at": result["call_started_at"],
            "stored_at": result["stored_at"],
        },
        "usage": result["usage"],
        "cost": result["cost"],
        "metadata": dict(accepted.request.metadata),
    }
    for image, provenance in zip(result["images"], result["provenance"], strict=True):
        await write_sidecar(room.blobs, image["blob"], {"job": job.id, **image, **shared, "provenance": provenance})
    manifests = {one["blob"]: one["provenance"] for one in result.get("derived", ())}
    for image in result["images"]:
        for made in image["derived"]:
            told = {"job": job.id, "index": image["index"], "of": image["blob"], **made, **shared}
            await write_sidecar(room.blobs, made["blob"], {**told, "provenance": manifests[made["blob"]]})


def _items(body: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The `data` items of an answer by the index of their image."""
    data = body.get("data")
    if not isinstance(data, list):
        return {}
    return {item["b64_json"]: item for item in data if isinstance(item, dict) and isinstance(item.get("b64_json"), int)}


def _image(image: StoredImage, item: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the job document's `images`, but for its URL."""
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
