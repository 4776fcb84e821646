"""Requests per minute, policed in a short sliding window as Azure polices them.

Azure's quota page: the per-minute number is checked over one or ten seconds, and failed requests count too. So the
allowance in any window is ceil(rpm x window / 60), and a refused call takes a place like any other.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Admission:
    """What the limiter says to one call. Times in seconds."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    """Until a call would be let through, were none made in between; 0 when one would be now."""


class SlidingWindow:
    """One deployment's window. Not thread-safe: it belongs to the event loop."""

    def __init__(self) -> None:
        self._calls: deque[float] = deque()

    def take(self, now: float, rpm: float, window: float) -> Admission:
        """Count a call at `now` (seconds of a monotonic clock) and say whether it may pass. `rpm` 0 means no limit."""
        if rpm <= 0:
            return Admission(allowed=True, limit=0, remaining=0, reset_seconds=0.0)
        allowance = math.ceil(rpm * window / 60)
        while self._calls and self._calls[0] <= now - window:
            self._calls.popleft()
        allowed = len(self._calls) < allowance
        self._calls.append(now)
        in_window = len(self._calls)
        remaining = max(0, allowance - in_window)
        # A call passes again when fewer than `allowance` earlier ones are inside the window.
        reset = 0.0 if remaining else self._calls[in_window - allowance] + window - now
        return Admission(allowed, allowance, remaining, max(0.0, reset))

    def clear(self) -> None:
        self._calls.clear()
