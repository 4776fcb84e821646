"""Ends the stack's children when their parent is gone, however it went.

`processes.py` starts this script beside the children and holds the only writing end of its standard input. A line
`+<process group>` announces a child, `-<process group>` takes it back. When the input ends, the parent has ended too (a
SIGKILL closes pipes like any other end, on Linux and macOS alike): what is still announced is asked to end and then
made to. Only the standard library, so that it starts in a moment and needs nothing of ours on its path.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 5.0


def main() -> int:
    """Read announcements until the input ends, then end what is left of them, newest first."""
    groups: list[int] = []
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.append(group)
        elif group in groups:
            groups.remove(group)
    _end(groups[::-1])
    return 0


def _end(groups: list[int]) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(group, signal.SIGTERM)  # the leader alone: it knows in which order its own children should end
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(_alive, groups)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:  # what the leaders left behind, and leaders that took too long
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _alive(leader: int) -> bool:
    try:
        os.kill(leader, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
