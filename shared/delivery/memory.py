"""What the images of all answers of this process hold in memory; an image comes in with a `Share` of it.

Over the budget only the image that began first is received further, while the others' senders wait: many answers at
once are then finished one image after the other. It waits, too, while those that came whole are over the budget by
themselves: storing is what is slow then. No image waits for long in all, since the first may be held up itself, by a
caller who reads slowly.
"""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar, Final

BUDGET_BYTES: Final = 12 * 2**20
PATIENCE: Final = 2.0
"""Seconds that one image is kept waiting, all its waits together."""
_LOOK_EVERY: Final = 0.01


class Share:
    """What one image holds, from its first byte until it is stored or dropped."""

    held: ClassVar[int] = 0
    """Bytes of all shares."""
    _whole: ClassVar[int] = 0
    """Bytes of those whose image has come whole and is being stored."""
    _receiving: ClassVar[dict[Share, None]] = {}
    """In the order in which they began."""

    def __init__(self) -> None:
        self._size = 0
        self._is_whole = False
        self._patience = PATIENCE

    async def take(self, size: int) -> None:
        """Hold `size` bytes more, once it is this image's turn to."""
        Share._receiving.setdefault(self)
        began = time.monotonic()
        while self._waits() and time.monotonic() - began < self._patience:  # noqa: ASYNC110 - images of any loop give back
            await asyncio.sleep(_LOOK_EVERY)
        self._patience -= time.monotonic() - began
        self._size += size
        Share.held += size

    def received(self) -> None:
        """No more is to come; what is held stays held."""
        if self in Share._receiving:
            del Share._receiving[self]
            self._is_whole = True
            Share._whole += self._size

    def give_back(self) -> None:
        """Hold nothing any more."""
        size, self._size = self._size, 0
        Share.held -= size
        if self._is_whole:
            Share._whole -= size

    def _waits(self) -> bool:
        if Share.held <= BUDGET_BYTES:
            return False
        return next(iter(Share._receiving)) is not self or Share._whole > BUDGET_BYTES
