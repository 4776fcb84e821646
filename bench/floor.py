"""The floor: the same work on blocking sockets in one thread, with nothing between it and the wire.

It knows how long the answer is, trusts its form, and holds one image at a time. No HTTP library, no JSON, no retry. As
Darkroom must, it asks the model on a new connection each time (a kept one leaves it undecidable whether a paid request
was seen); the one to storage is kept. `keep` keeps both, to show what that costs.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pybase64

_BUFFER_BYTES: Final = 256 * 2**10
_KEY: Final = b'"b64_json": "'


class Floor:
    def __init__(self, model: str, blobs: str, *, keep: bool = False) -> None:
        self._context = ssl.create_default_context()
        self._model_url = model
        self._kept = _connect(self._context, model) if keep else None
        self._blobs = _connect(self._context, blobs)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._used = 0

    def run(self, answer: str) -> list[str]:
        """Stores the images of the answer of that name; returns their sha256."""
        if self._kept:
            return self._ask(answer, self._kept)
        with _connect(self._context, self._model_url) as model:
            return self._ask(answer, model)

    def close(self) -> None:
        self._blobs.close()
        if self._kept:
            self._kept.close()

    def _ask(self, answer: str, model: ssl.SSLSocket) -> list[str]:
        model.sendall(f"POST /{answer}/images HTTP/1.1\r\nHost: model\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        return self._store(answer, model)

    def _store(self, answer: str, model: ssl.SSLSocket) -> list[str]:
        image = _Image()
        hashes: list[str] = []
        for end in self._fills(model):
            position = 0
            while True:
                if not image.begun:
                    found = self._buffer.find(_KEY, position, end)
                    if found < 0:
                        self._used = max(position, end - len(_KEY))
                        break
                    image.begun, position = True, found + len(_KEY)
                quote = self._buffer.find(b'"', position, end)
                stop = end if quote < 0 else quote
                self._used = position + ((stop - position) & ~3)
                image.add(pybase64.b64decode(self._view[position : self._used], validate=True))
                if quote < 0:
                    break
                position = quote + 1
                self._put(f"/results/{answer}/{len(hashes)}.png", image.pieces)
                hashes.append(image.sha256.hexdigest())
                image = _Image()
        return hashes

    def _fills(self, model: ssl.SSLSocket) -> Iterator[int]:
        """Fills the buffer over and over, keeping what was not used of the last time; yields where it ends."""
        filled = 0
        while (begin := self._buffer.find(b"\r\n\r\n", 0, filled) + 4) < 4:
            filled += model.recv_into(self._view[filled:])
        head = bytes(self._view[:begin]).lower()
        missing = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) - (filled - begin)
        self._used = begin
        while missing:
            kept = filled - self._used
            self._view[:kept] = self._view[self._used : filled]
            filled = kept
            while missing and filled < _BUFFER_BYTES:
                count = model.recv_into(self._view[filled:], min(missing, _BUFFER_BYTES - filled))
                filled += count
                missing -= count
            yield filled

    def _put(self, path: str, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        self._blobs.sendall(
            f"PUT {path} HTTP/1.1\r\nHost: blobs\r\nContent-Length: {size}\r\nx-ms-version: 2024-11-04\r\n\r\n".encode()
        )
        for piece in pieces:
            self._blobs.sendall(piece)
        reply = b""
        while b"\r\n\r\n" not in reply:
            reply += self._blobs.recv(4096)
        assert reply.startswith(b"HTTP/1.1 201")


class _Image:
    def __init__(self) -> None:
        self.begun = False
        self.pieces: list[bytes] = []
        self.sha256 = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.sha256.update(piece)


def _connect(context: ssl.SSLContext, url: str) -> ssl.SSLSocket:
    parts = urlsplit(url)
    assert parts.hostname
    plain = socket.create_connection((parts.hostname, parts.port or 443))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname=parts.hostname)
