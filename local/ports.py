"""Ports of parts that do not listen on them yet, or for the moment, kept from being given to others.

`stack.py` comes in here: the app's address has to be known before the app starts, and a part that was killed comes
back where it was. The system gives a port that was only looked up to the next program that wants any (several stacks
that start at once meet in this), but on Linux not one that a socket is bound to. A server that names the port may bind
it all the same, as long as nobody listens there and both set SO_REUSEADDR (socket(7)). Elsewhere nothing is held.
"""

from __future__ import annotations

import contextlib
import socket
import sys

from local.serving import listen

_CAN_HOLD = sys.platform == "linux"


class HeldPorts:
    """A context manager; leaving it lets all go. Connections to a held port are refused until a server comes."""

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def __enter__(self) -> HeldPorts:
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._held.values():
            holder.close()
        self._held.clear()

    def hold(self, port: int = 0) -> int:
        """Hold `port` of 127.0.0.1, or a free one for 0, and return it. Raises OSError when a program listens on it."""
        with contextlib.ExitStack() as undone:
            holder = undone.enter_context(listen(port))
            number: int = holder.getsockname()[1]
            if _CAN_HOLD and number not in self._held:
                self._held[number] = holder
                undone.pop_all()
        return number
