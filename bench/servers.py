"""The other ends: a model that answers at once and a Blob Storage that keeps nothing, over TLS on loopback.

Plain sockets and a thread a connection, so that they cost little on the cores they share with what is measured.
`python -m bench.servers model|blobs CERT KEY [FILE ...]` prints its port; the model answers `/n4/...` with n4.json.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

_BUFFER_BYTES = 256 * 2**10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_BLOB_HEADERS = (
    'ETag: "0x8"\r\nLast-Modified: Sun, 22 Nov 2026 12:00:00 GMT\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n'
    "x-ms-version: 2024-11-04\r\nx-ms-request-id: 1\r\nx-ms-request-server-encrypted: true\r\n"
)

Answer = Callable[[str, str], bytes]


def model(bodies: Mapping[str, bytes]) -> Answer:
    heads = {
        name: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        for name, body in bodies.items()
    }
    answers = {name: heads[name] + body for name, body in bodies.items()}
    return lambda _, path: answers[path.split("/")[1]]


def blobs() -> Answer:
    taken = f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n{_BLOB_HEADERS}\r\n".encode()
    return lambda _, __: taken


def serve(answer: Answer, certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_connection, args=(context, connection, answer), daemon=True).start()


def _connection(context: ssl.SSLContext, connection: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError, EOFError), context.wrap_socket(connection, server_side=True) as secure:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while True:
            method, path = _request(secure, buffer)
            secure.sendall(answer(method, path))


def _request(secure: ssl.SSLSocket, buffer: memoryview) -> tuple[str, str]:
    """Reads one request and throws its body away."""
    filled = 0
    while (end := bytes(buffer[:filled]).find(b"\r\n\r\n")) < 0:
        filled += _receive(secure, buffer[filled:])
    head = bytes(buffer[:end])
    method, path, _ = head.split(b" ", 2)
    body = filled - end - 4
    length = _LENGTH.search(head)
    if length:
        missing = int(length[1]) - body
        while missing > 0:
            missing -= _receive(secure, buffer)
    elif _CHUNKED.search(head):
        tail = bytes(buffer[end + 4 : filled])[-5:]
        while not tail.endswith(b"0\r\n\r\n"):
            count = _receive(secure, buffer)
            tail = (tail + bytes(buffer[:count]))[-5:]
    return method.decode(), path.decode()


def _receive(secure: ssl.SSLSocket, into: memoryview) -> int:
    count = secure.recv_into(into)
    if count == 0:
        raise EOFError
    return count


if __name__ == "__main__":
    kind, certificate, key, *files = sys.argv[1:]
    bodies = {Path(file).stem: Path(file).read_bytes() for file in files}
    serve(model(bodies) if kind == "model" else blobs(), certificate, key)
