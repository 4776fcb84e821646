"""Server-sent events as this app writes them; the doors and the relay come in here.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.platform import strict_json

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-cache",  # as the service has it
    "x-accel-buffering": "no",  # proxies that know it pass each event on at once
}
KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment, which every client passes over and no proxy takes for silence."""
KEEP_ALIVE_SECONDS: Final = 15.0
"""After this long without an event it is sent."""


def written(name: str, data: Mapping[str, Any], *, event_id: str = "") -> bytes:
    """One event, framing and all. `event_id` is what a client that comes back names as the last it had."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: ".encode() + strict_json.encode(data) + b"\n\n"
