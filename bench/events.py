"""A streamed answer of the model; each event ends with when its end was sent, in seconds of the monotonic clock."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PAUSE_SECONDS: Final = 0.25
"""Between one event and the next: long enough that none waits for the one before it."""
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Script:
    """The events of one answer: name, and data as JSON text without its closing brace."""

    events: Sequence[tuple[bytes, bytes]]


def write(path: Path, image: bytes, partials: int) -> None:
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
    path.write_text(json.dumps(told))


def read(path: Path) -> Script:
    told = json.loads(path.read_bytes())
    return Script([(event["type"].encode(), json.dumps(event)[:-1].encode()) for event in told])


def play(script: Script) -> Iterator[bytes]:
    """The response, piece by piece, at the pace it has."""
    yield _HEAD
    for name, data in script.events:
        time.sleep(PAUSE_SECONDS)
        most = b"event: %b\ndata: %b" % (name, data)
        yield b"%x\r\n" % len(most)
        yield most
        end = b', "sent": %.6f}\n\n' % time.monotonic()
        yield b"\r\n%x\r\n%b\r\n" % (len(end), end)
    yield b"0\r\n\r\n"
