"""Completion events: one CloudEvent per ended job, with the same id on every redelivery (design section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.platform import tracing

if TYPE_CHECKING:
    from azure.core.messaging import CloudEvent
    from azure.eventgrid.aio import EventGridPublisherClient

_TYPES = {
    "succeeded": "Darkroom.Job.Succeeded",
    "failed": "Darkroom.Job.Failed",
    "canceled": "Darkroom.Job.Canceled",
}


def completion(
    document: dict[str, Any], *, app_name: str, ended_at: datetime, with_prompt: bool, traceparent: str = ""
) -> CloudEvent[dict[str, Any]]:
    """An ended job's event: its `data` is the job document without signatures and, unless `with_prompt`, prompt."""
    from azure.core.messaging import CloudEvent

    return CloudEvent(
        source=f"/darkroom/{app_name}",
        type=type_of(document["status"]),
        subject=f"jobs/{document['id']}",
        id=event_id(document),
        time=ended_at,
        data=public(document, with_prompt),
        extensions=tracing.headers(traceparent),
    )


def batch_completion(
    document: dict[str, Any], *, app_name: str, ended_at: datetime, traceparent: str = ""
) -> CloudEvent[dict[str, Any]]:
    """The event of a batch whose last job ended: its `data` is the batch document."""
    from azure.core.messaging import CloudEvent

    return CloudEvent(
        source=f"/darkroom/{app_name}",
        type="Darkroom.Batch.Completed",
        subject=f"batches/{document['id']}",
        id=f"{document['id']}/completed",
        time=ended_at,
        data=document,
        extensions=tracing.headers(traceparent),
    )


def type_of(status: str) -> str:
    """The type of what is told of a job that ended as `status`."""
    return _TYPES[status]


def event_id(document: dict[str, Any]) -> str:
    """The name of an ended job's end, the same each time it is told."""
    return f"{document['id']}/{document['status']}"


def public(document: dict[str, Any], with_prompt: bool) -> dict[str, Any]:
    """The job document without signatures and, unless `with_prompt`, without the prompt."""
    data = dict(document)
    data["images"] = [dict(image, url=image["url"].split("?")[0]) for image in document["images"]]
    if not with_prompt:
        data["request"] = {name: value for name, value in document["request"].items() if name != "prompt"}
        data["images"] = [dict(image, revised_prompt=None) for image in data["images"]]
        data["error"] = _without_prompt(document["error"])
    return data


def _without_prompt(error: Any) -> Any:
    """A refusal of the service may quote the prompt as it had revised it."""
    if isinstance(error, dict):
        return {name: _without_prompt(value) for name, value in error.items() if name != "revised_prompt"}
    return error


async def publish(topic: EventGridPublisherClient, event: CloudEvent[dict[str, Any]]) -> None:
    """Hand `event` to the topic. Raises `AzureError` when the topic did not take it."""
    await topic.send(event)
