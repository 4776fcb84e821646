"""What stands between an answer that arrives and the caller who reads it: a few megabytes, and no patience without end.

The relay puts in what the model sends, the HTTP door takes it out. A caller who reads slower than the model sends
slows the model's answer, for a while; then, like one who has left, it is let go and the job goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

WINDOW_BYTES: Final = 8 * 2**20
"""What one caller may leave unread."""
ALL_WINDOWS_BYTES: Final = 16 * 2**20
"""What all callers of this process may leave unread together; over it, each is down to its `LEAST_BYTES`."""
LEAST_BYTES: Final = 256 * 2**10
PATIENCE: Final = 30.0
"""Seconds that a full window is waited for."""
ALL_PATIENCE: Final = 120.0
"""Seconds that an answer is slowed by its reader in all, so that one who takes a little now and then does not make the
call to the model end in a timeout."""
LAST_PATIENCE: Final = 600.0
"""Seconds for what is left when all has arrived."""
_LOOK_EVERY: Final = 0.25


class BrokenOffError(Exception):
    """What was being read will not come to its end."""


class Window:
    """Bytes on their way from one writer to one reader of the same loop."""

    unread = 0
    """Bytes in all windows of this process."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        """The reader has left, or was let go."""
        self.full = asyncio.Event()
        """The writer has had to wait."""
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._space = asyncio.Event()
        self._more = asyncio.Event()
        self._closed_at: float | None = None
        self._broken = False
        self._patience = ALL_PATIENCE

    def __del__(self) -> None:
        self._count(-self._held)  # an answer that nobody ever began to send counts no more

    @property
    def is_closed(self) -> bool:
        return self._closed_at is not None

    async def put(self, pieces: Sequence[bytes]) -> None:
        """Add `pieces`, once they fit; or drop the reader when they have not for `PATIENCE` seconds, or when its writer
        has waited for `ALL_PATIENCE` seconds since the answer began."""
        size = sum(map(len, pieces))
        began = time.monotonic()
        until = began + min(PATIENCE, self._patience)
        while not self.gone.is_set() and not self._fits(size):
            self.full.set()
            if time.monotonic() > until:
                self.drop()
                break
            self._space.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._space.wait(), _LOOK_EVERY)  # room may come from another window too
        self._patience -= time.monotonic() - began
        if self.gone.is_set():
            return
        self._pieces.extend(piece for piece in pieces if piece)
        self._count(size)
        self._more.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed_at = time.monotonic()
        self._more.set()

    def break_off(self) -> None:
        """Nothing more will come, and what came is not all there was to be."""
        self._broken = True
        self.close()

    async def take(self, patience: float | None = None) -> bytes:
        """The next bytes; empty at the end. Raises `TimeoutError` after `patience` seconds, `BrokenOffError`; that also
        for a reader who was let go."""
        if self._closed_at is not None and time.monotonic() - self._closed_at > LAST_PATIENCE:
            self.drop()
        while not self._pieces:
            if self._broken or self.gone.is_set():
                raise BrokenOffError
            if self._closed_at is not None:
                return b""
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), patience)
            except TimeoutError:
                if not self._pieces:  # else they came in this very moment
                    raise
        piece = self._pieces.popleft()
        self._count(-len(piece))
        self._space.set()
        return piece

    def drop(self) -> None:
        """Let the reader go, and what it has not read."""
        self.gone.set()
        self._pieces.clear()
        self._count(-self._held)
        self._space.set()
        self._more.set()

    def _fits(self, size: int) -> bool:
        if self._held < LEAST_BYTES:
            return True
        return self._held + size <= WINDOW_BYTES and Window.unread + size <= ALL_WINDOWS_BYTES

    def _count(self, size: int) -> None:
        self._held += size
        Window.unread += size
