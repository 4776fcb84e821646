"""A streamed answer of the model; each event ends with when its end was sent, in seconds of the monotonic clock.

An event comes either as fast as loopback takes it or, as from a service, at the speed of a network.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PAUSE_SECONDS: Final = 0.15
"""Between one event and the next: long enough that none waits for the one before it."""
NETWORK: Final = 125e6
"""Bytes a second of a network of 1 Gbit/s, which is fast for what stands between an app and a model."""
_PIECE_BYTES: Final = 32 * 2**10
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The events of one answer: name, and data as JSON text without its closing brace."""

    events: Sequence[tuple[bytes, bytes]]
    speed: float | None
    """Bytes a second, at the most; None for as fast as it goes."""


def write(path: Path, image: bytes, partials: int, speed: float | None = None) -> None:
    """A script of `partials` partial images and a completed one, all of them `image`."""
    text = base64.b64encode(image).decode()
    about = {"background": "opaque", "created_at": 1_760_000_000, "output_format": "png", "quality": "low"}
    about["size"] = "1024x1024"
    usage = {"total_tokens": 1106, "input_tokens": 50, "output_tokens": 1056}
    tokens = {**usage, "input_tokens_details": {"text_tokens": 50, "image_tokens": 0}}
    told: list[dict[str, Any]] = [
        {"type": "image_generation.partial_image", "b64_json": text, **about, "partial_image_index": index}
        for index in range(partials)
    ]
    told.append({"type": "image_generation.completed", "b64_json": text, **about, "usage": tokens})
    path.write_text(json.dumps({"speed": speed, "events": told}))


def read(path: Path) -> Script:
    told = json.loads(path.read_bytes())
    events = [(event["type"].encode(), json.dumps(event)[:-1].encode()) for event in told["events"]]
    return Script(events, told["speed"])


def play(script: Script) -> Iterator[bytes]:
    """The response, piece by piece, at the pace it has."""
    yield _HEAD
    for name, data in script.events:
        time.sleep(PAUSE_SECONDS)
        most = b"event: %b\ndata: %b" % (name, data)
        yield b"%x\r\n" % len(most)
        yield from _paced(most, script.speed) if script.speed else [most]
        end = b', "sent": %.6f}\n\n' % time.monotonic()
        yield b"\r\n%x\r\n%b\r\n" % (len(end), end)
    yield b"0\r\n\r\n"


def _paced(data: bytes, speed: float) -> Iterator[bytes]:
    begun = time.monotonic()
    for start in range(0, len(data), _PIECE_BYTES):
        time.sleep(max(0.0, begun + start / speed - time.monotonic()))
        yield data[start : start + _PIECE_BYTES]
