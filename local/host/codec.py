"""What host and worker say to each other: JSON objects, each behind its length in four bytes.

Both processes come in here. Bodies of requests and results never pass: in HTTP-streams mode they go by HTTP, so a
message is a function's name, its route parameters or at most a 64 KiB queue message, and JSON is quick enough.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

type Message = dict[str, Any]

_LENGTH = struct.Struct("!I")


def encode(message: Message) -> bytes:
    """One frame: the payload's length as a big-endian 32-bit number, then the message as UTF-8 JSON."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(payload)) + payload


async def read(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None once the other side has gone (also in the middle of a frame)."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: Message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message
