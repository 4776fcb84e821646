"""The other ends: a model that answers at once and a Blob Storage that keeps nothing, over TLS on loopback.

Plain sockets and a thread a connection, so that they cost little on the cores they share with what is measured.
`python -m bench.servers model|blobs CERT KEY [FILE ...]` prints its port. The model answers with `n4.json` whatever has
`n4` as a part of its path, and with the events of `partials.sse` (`bench.events`) in the same way.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import events

_BUFFER_BYTES: Final = 256 * 2**10
_KEPT_BYTES: Final = 256 * 2**10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_PARTS = re.compile(r"[/?]")
BLOB_HEADERS: Final = (
    'ETag: "0x8"\r\nLast-Modified: Sun, 22 Nov 2026 12:00:00 GMT\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n'
    "x-ms-version: 2024-11-04\r\nx-ms-request-id: 1\r\nx-ms-request-server-encrypted: true\r\n"
)


@dataclass(frozen=True, slots=True)
class Request:
    """`head` is all above the blank line. `body` is empty when it was larger than 256 KiB: then it was thrown away."""

    method: str
    path: str
    head: bytes
    body: bytes


Answer = Callable[[Request], bytes | Iterable[bytes]]
"""The whole response to a request, in one piece or as what is sent one after the other."""


def whole(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def model(bodies: Mapping[str, bytes], streams: Mapping[str, events.Script]) -> Answer:
    answers = {name: whole("200 OK", body, "Content-Type: application/json\r\n") for name, body in bodies.items()}

    def answer(request: Request) -> bytes | Iterable[bytes]:
        for part in _PARTS.split(request.path):
            if part in answers:
                return answers[part]
            if part in streams:
                return events.play(streams[part])
        return whole("404 Not Found")

    return answer


def blobs() -> Answer:
    taken = whole("201 Created", headers=BLOB_HEADERS)
    return lambda _: taken


def serve(answer: Answer, certificate: str, key: str) -> None:
    """Over TLS, or without it where there is no `certificate`."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_connection, args=(context, connection, answer), daemon=True).start()


def _connection(context: ssl.SSLContext | None, plain: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError, EOFError), plain, _secured(context, plain) as connection:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while True:
            response = answer(_request(connection, buffer))
            for piece in (response,) if isinstance(response, bytes) else response:
                connection.sendall(piece)


def _secured(context: ssl.SSLContext | None, plain: socket.socket) -> socket.socket:
    return context.wrap_socket(plain, server_side=True) if context else plain


def _request(connection: socket.socket, buffer: memoryview) -> Request:
    filled = 0
    while (end := bytes(buffer[:filled]).find(b"\r\n\r\n")) < 0:
        filled += _receive(connection, buffer[filled:])
    head = bytes(buffer[:end])
    method, path, _ = head.split(b" ", 2)
    begun = bytes(buffer[end + 4 : filled])
    body = b""
    length = _LENGTH.search(head)
    if length:
        body = _sized(connection, buffer, begun, int(length[1]))
    elif _CHUNKED.search(head):
        body = _chunked(connection, buffer, begun)
    return Request(method.decode(), path.decode(), head, body)


def _sized(connection: socket.socket, buffer: memoryview, begun: bytes, length: int) -> bytes:
    missing = length - len(begun)
    body = bytearray(begun)
    while missing > 0:
        count = _receive(connection, buffer)
        missing -= count
        if length <= _KEPT_BYTES:
            body += buffer[:count]
    return bytes(body) if length <= _KEPT_BYTES else b""


def _chunked(connection: socket.socket, buffer: memoryview, begun: bytes) -> bytes:
    body, tail = bytearray(begun), begun[-5:]
    while not tail.endswith(b"0\r\n\r\n"):
        count = _receive(connection, buffer)
        tail = (tail + bytes(buffer[:count]))[-5:]
        if len(body) <= _KEPT_BYTES:
            body += buffer[:count]
    return b"" if len(body) > _KEPT_BYTES else _joined(bytes(body))


def _joined(chunked: bytes) -> bytes:
    body = b""
    while True:
        size, _, chunked = chunked.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return body
        body, chunked = body + chunked[:length], chunked[length + 2 :]


def _receive(connection: socket.socket, into: memoryview) -> int:
    count = connection.recv_into(into)
    if count == 0:
        raise EOFError
    return count


def main(kind: str, certificate: str, key: str, *files: str) -> None:
    paths = [Path(file) for file in files]
    bodies = {path.stem: path.read_bytes() for path in paths if path.suffix == ".json"}
    streams = {path.stem: events.read(path) for path in paths if path.suffix == ".sse"}
    serve(model(bodies, streams) if kind == "model" else blobs(), certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
