"""An https server on this machine that keeps what it was asked and answers as a test has told it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from local.certificates import Certificates

type Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]
type Answer = bytes | Writing
"""What goes to the wire as it is, or a function that writes it."""

STACK_SIGNING_KEY = "whsec_dGhlIGtleSBvZiB0aGUgc3RhY2sgb2YgdGVzdHM="
"""What the session's stack derives the keys of receivers from."""

NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Heard:
    """One request. The names of `headers` are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None


@dataclass(slots=True)
class Receiver:
    """`answers` are used up one by one; then every request is answered by 204."""

    url: str = ""
    requests: list[Heard] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    connections: int = 0
    _server_names: dict[ssl.SSLObject, str | None] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            name = self._server_names.get(writer.get_extra_info("ssl_object"))
            self.requests.append(Heard(method, target, headers, body, name))
            answer = self.answers.pop(0) if self.answers else NOTHING
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        writer.close()

    def _note_name(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._server_names[connection] = name


@asynccontextmanager
async def receiving(certificates: Certificates) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1; its certificate is good for that address and for `localhost`."""
    receiver = Receiver()
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    offered.load_cert_chain(certificates.cert, certificates.key)
    offered.sni_callback = receiver._note_name
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=offered)
    receiver.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        server.abort_clients()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer for the wire; underscores of header names stand for hyphens."""
    fields = {"content_length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
