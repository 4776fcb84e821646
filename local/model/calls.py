"""The record of every call taken: what a test asks afterwards to learn what left the app.

Never kept: credentials (only their kind, and the claims of a token that are no secret) and image bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT_HEADERS = (
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "expect",
    "transfer-encoding",
    "user-agent",
    "x-ms-client-request-id",
    "x-stainless-retry-count",
)


@dataclass
class Call:
    """One call, filled in as it goes. Times in seconds since the epoch."""

    sequence: int
    time: float
    method: str
    path: str
    surface: str
    operation: str
    deployment: str | None
    api_version: str | None
    request_id: str
    headers: dict[str, str] = field(default_factory=dict)
    auth: str | None = None
    """`bearer`, `api-key`, or null when neither was sent."""
    audience: str | None = None
    token_claims: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    """The fields as they came; prompt included."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """Of each file part: field, filename, content type, bytes, sha256."""
    status: int | None = None
    """Null while the call runs, and when the connection was closed without an answer."""
    code: str | None = None
    outcome: str = "running"
    """running, ok, refused (an error body), cut (by a fault), left (the client went away), failed (a bug here)."""
    fault: str | None = None
    """The members of the fault that was applied."""
    billed: bool = False
    """Whether the real service would charge for it: pictures were made, however the answer fared."""
    images: list[dict[str, Any]] = field(default_factory=list)
    """Of each image made: index, sha256, bytes."""
    usage: dict[str, Any] | None = None
    bytes_sent: int = 0
    client_left: bool = False
    finished: float | None = None


class CallLog:
    """The last calls, oldest first."""

    def __init__(self, keep: int = 10_000) -> None:
        self._calls: deque[Call] = deque(maxlen=keep)
        self._sequence = 0
        self._changed = asyncio.Event()

    def open(self, **known: Any) -> Call:
        self._sequence += 1
        call = Call(sequence=self._sequence, time=time.time(), **known)
        self._calls.append(call)
        self._changed.set()
        return call

    def finish(self, call: Call) -> None:
        """The call is over; whoever waits for it is told."""
        call.finished = time.time()
        self._changed.set()

    async def wait(self, *, taken: int, finished: int, timeout_seconds: float) -> bool:
        """Whether `taken` calls were kept and `finished` of them over before the time was."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self._has(taken, finished):
                    self._changed.clear()
                    await self._changed.wait()
        return self._has(taken, finished)

    def _has(self, taken: int, finished: int) -> bool:
        return len(self._calls) >= taken and sum(call.finished is not None for call in self._calls) >= finished

    def clear(self) -> None:
        """Forget the calls; numbers go on."""
        self._calls.clear()

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(call) for call in self._calls]
