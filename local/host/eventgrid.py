"""The webhooks that Event Grid calls: handshakes, then one delivery for each event.

`frontend.py` comes in with what arrived at `/runtime/webhooks/EventGrid?functionName=` (an event runs the function) and
at `/runtime/webhooks/blobs?functionName=` (an event becomes a message of the blob triggers' queue). Both schemas are
understood, as by EventGridExtensionConfigProvider.cs in Azure/azure-sdk-for-net: the Event Grid schema with its
validation event, and CloudEvents 1.0 with the OPTIONS handshake of the CloudEvents webhook specification.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

LARGEST_DELIVERY = 2 * 1024 * 1024
"""Bytes; Event Grid takes events of at most 1 MB and delivers batches of that size."""

type Event = dict[str, Any]

_JSON = ((b"content-type", b"application/json; charset=utf-8"),)


@dataclass(frozen=True)
class Reply:
    """What the webhook answers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def receive(
    method: str, headers: dict[bytes, bytes], body: bytes, deliver: Callable[[Event], Awaitable[None]]
) -> Reply:
    """Answer one call of a webhook; `deliver` takes in one event and raises when that fails."""
    if method == "OPTIONS":
        origin = headers.get(b"webhook-request-origin")
        if origin is None:
            return Reply(400)
        return Reply(200, b"", ((b"webhook-allowed-origin", origin), (b"webhook-allowed-rate", b"*")))
    if method != "POST":
        return Reply(405)
    try:
        content = json.loads(body)
    except ValueError:
        return Reply(400)
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        return Reply(400)
    kind = headers.get(b"aeg-event-type", b"Notification").lower()
    if kind == b"subscriptionvalidation":
        return _validate(events)
    if kind == b"notification":
        results = await asyncio.gather(*map(deliver, events), return_exceptions=True)
        return Reply(500 if any(isinstance(result, BaseException) for result in results) else 202)
    return Reply(200 if kind == b"unsubscribe" else 400)


def _validate(events: list[Event]) -> Reply:
    try:
        data = events[0]["data"]
        # As a CloudEvent its data is JSON in a string (HttpRequestProcessor.cs of the Event Grid extension).
        code = (json.loads(data) if isinstance(data, str) else data)["validationCode"]
    except (IndexError, KeyError, TypeError, ValueError):
        return Reply(400)
    return Reply(200, json.dumps({"validationResponse": code}).encode(), _JSON)
