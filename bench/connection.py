"""A client that costs next to nothing: one socket, one buffer, answers counted and thrown away as they come."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Final, Self

_BUFFER_BYTES: Final = 256 * 2**10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)

Take = Callable[[memoryview], object]
"""What is done with each piece of a body; the piece is overwritten by the next."""


class Connection:
    """HTTP/1.1 on a kept connection to 127.0.0.1; over TLS where there is a `trust`."""

    def __init__(self, port: int, trust: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=120)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = trust.wrap_socket(plain, server_hostname="127.0.0.1") if trust else plain
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self, take: Take) -> bytes:
        """The head of the next answer, once its body went piece by piece to `take`. Raises EOFError."""
        while (end := self._buffer.find(b"\r\n\r\n", self._begin, self._end)) < 0:
            self._more()
        head = bytes(self._view[self._begin : end])
        self._begin = end + 4
        if _CHUNKED.search(head):
            self._chunks(take)
        elif length := _LENGTH.search(head):
            self._bytes(int(length[1]), take)
        else:
            raise ValueError("an answer of no known length")
        return head

    def _chunks(self, take: Take) -> None:
        while size := int(self._line().split(b";")[0], 16):
            self._bytes(size, take)
            self._line()
        while self._line():
            pass

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._begin, self._end)) < 0:
            self._more()
        line = bytes(self._view[self._begin : end])
        self._begin = end + 2
        return line

    def _bytes(self, count: int, take: Take) -> None:
        while count:
            if self._begin == self._end:
                self._begin = self._end = 0
                self._more()
            piece = min(count, self._end - self._begin)
            take(self._view[self._begin : self._begin + piece])
            self._begin += piece
            count -= piece

    def _more(self) -> None:
        if self._begin:
            rest = bytes(self._view[self._begin : self._end])
            self._view[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)
        count = self._socket.recv_into(self._view[self._end :])
        if count == 0:
            raise EOFError
        self._end += count
