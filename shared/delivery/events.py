"""Completion events: one CloudEvent per ended job, with the same id on every redelivery (design section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.messaging import CloudEvent
    from azure.eventgrid.aio import EventGridPublisherClient

_TYPES = {
    "succeeded": "Darkroom.Job.Succeeded",
    "failed": "Darkroom.Job.Failed",
    "canceled": "Darkroom.Job.Canceled",
}


def completion(
    document: dict[str, Any], *, app_name: str, ended_at: datetime, with_prompt: bool
) -> CloudEvent[dict[str, Any]]:
    """The event of an ended job, its `data` the job document without links and, unless `with_prompt`, the prompt."""
    from azure.core.messaging import CloudEvent

    status = document["status"]
    return CloudEvent(
        source=f"/darkroom/{app_name}",
        type=_TYPES[status],
        subject=f"jobs/{document['id']}",
        id=f"{document['id']}/{status}",
        time=ended_at,
        data=_public(document, with_prompt),
    )


def _public(document: dict[str, Any], with_prompt: bool) -> dict[str, Any]:
    data = {name: value for name, value in document.items() if name != "links"}
    data["images"] = [dict(image, url=image["url"].split("?")[0]) for image in document["images"]]
    if not with_prompt:
        data["request"] = {name: value for name, value in document["request"].items() if name != "prompt"}
        data["images"] = [dict(image, revised_prompt=None) for image in data["images"]]
    return data


async def publish(topic: EventGridPublisherClient, event: CloudEvent[dict[str, Any]]) -> None:
    """Hand `event` to the topic. Raises `AzureError` when the topic did not take it."""
    await topic.send(event)
