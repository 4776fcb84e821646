"""Streams as the official clients read them: one way to read, for either kind, and the SDK's own types to judge by."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import openai
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from tests.clients.conftest import DEPLOYMENT, Client, settled

EVENTS: dict[str, type[Any]] = {
    "image_generation.partial_image": ImageGenPartialImageEvent,
    "image_generation.completed": ImageGenCompletedEvent,
    "image_edit.partial_image": ImageEditPartialImageEvent,
    "image_edit.completed": ImageEditCompletedEvent,
}


async def stream(client: Client, operation: str = "generate", **params: Any) -> list[Any]:
    """All events of a streamed `generate` or `edit`."""
    return [event async for event in arriving(client, operation, **params)]


async def arriving(client: Client, operation: str = "generate", **params: Any) -> AsyncIterator[Any]:
    """The events as they come."""
    method = getattr(client.images, operation)
    events = await settled(method(**{"model": DEPLOYMENT, "quality": "low", "stream": True, **params}))
    if isinstance(events, openai.Stream):
        for event in events:
            yield event
    else:
        async for event in events:
            yield event


async def collect(seen: list[Any], events: AsyncIterator[Any]) -> None:
    """Put the events into `seen` as they come: what came before an error stays there."""
    async for event in events:
        seen.append(event)  # noqa: PERF401 - one by one is the point


def assert_exact(event: Any) -> None:
    """An event is what the SDK's types say: the client itself builds its objects without looking."""
    model = EVENTS[event.type]
    assert isinstance(event, model)
    validated = model.model_validate(event.to_dict(), strict=True)
    assert validated.model_extra == {}, event.type
    for nested in (validated, getattr(validated, "usage", None)):
        assert nested is None or not nested.model_extra


def image(event: Any) -> bytes:
    """The image of an event."""
    return base64.b64decode(event.b64_json, validate=True)


def sha256(event: Any) -> str:
    """The hash of an event's image, hex."""
    return hashlib.sha256(image(event)).hexdigest()
