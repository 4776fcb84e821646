"""What Darkroom keeps its books in, in Darkroom's own process: tables, blobs, a queue and a topic of dictionaries.

`install` has `shared/platform/clients.py` give these out for the SDKs' clients, so that all of Darkroom's own work is
done and none of the work of talking to a store. Of blobs the newest few hundred are known, and of those the small ones
can be read again; larger ones are taken and thrown away, as `null_azure.py` does it. Only what synchronous requests
ask for is here: the SDK's client of blobs, which they do not use, stays and would find nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from bench import in_process_tables
from shared.platform import clients
from shared.platform.transport import CookielessClient

KEPT_BLOBS: Final = 512
KEPT_BYTES: Final = 256 * 2**10


@dataclass(frozen=True, slots=True)
class Blob:
    """`body` is None where it was larger than `KEPT_BYTES`."""

    body: bytes | None
    headers: Mapping[str, str]


class Blobs:
    """The blobs of an account by `container/path`, the oldest forgotten first."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, Blob] = OrderedDict()

    def get(self, name: str) -> Blob | None:
        return self._blobs.get(name)

    async def put(
        self, name: str, content: AsyncIterable[bytes], headers: Mapping[str, str], *, overwrite: bool
    ) -> bool:
        """Take `content`; False, once it is here, if there is a blob of that name and it may not be overwritten."""
        body = await _kept(content)
        if name in self._blobs and not overwrite:
            return False
        self._blobs[name] = Blob(body, headers)
        self._blobs.move_to_end(name)
        if len(self._blobs) > KEPT_BLOBS:
            self._blobs.popitem(last=False)
        return True


class Rest(httpx.AsyncBaseTransport):
    """Blob Storage's REST protocol, as far as whole blobs go, for `shared/platform/blobs.py`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.lstrip("/")
        if request.url.query:
            return httpx.Response(501)
        if request.method == "PUT":
            stream = request.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            overwrite = request.headers.get("if-none-match") != "*"
            taken = await self._blobs.put(name, stream, _shown(request.headers), overwrite=overwrite)
            return (
                httpx.Response(201) if taken else httpx.Response(409, headers={"x-ms-error-code": "BlobAlreadyExists"})
            )
        blob = self._blobs.get(name)
        if blob is None or (blob.body is None and request.method == "GET"):
            return _refused(404, "BlobNotFound")
        body = blob.body if blob.body and request.method == "GET" else b""
        return httpx.Response(200, headers=blob.headers, stream=httpx.ByteStream(body))


class Queues:
    """Takes messages for which nobody waits."""

    def get_queue_client(self, _: str) -> Queues:
        return self

    async def send_message(self, content: str, **_: Any) -> None:
        """Nothing: a synchronous request's message is for the case that its runner dies."""


class Topic:
    async def send(self, events: object) -> None:
        """Nothing: it has the event."""


def install() -> None:
    """From now on `clients` gives out what is here."""
    blobs = Blobs()
    given: dict[str, Any] = {
        "tables": in_process_tables.Service(),
        "queues": Queues(),
        "topic": Topic(),
        "storage_http": CookielessClient(transport=Rest(blobs), trust_env=False),
    }
    for name, client in given.items():
        setattr(clients, name, lambda client=client: client)


def _refused(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, headers={"x-ms-error-code": code})


def _shown(headers: httpx.Headers) -> dict[str, str]:
    """What a blob tells of itself, of the headers that it was put with."""
    return {
        "content-type": headers.get("x-ms-blob-content-type", "application/octet-stream"),
        **{name: value for name, value in headers.items() if name.startswith("x-ms-meta-")},
    }


async def _kept(content: AsyncIterable[bytes]) -> bytes | None:
    """The bytes of `content`, all of which is read; None if they are too many to keep."""
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        size += len(piece)
        if size <= KEPT_BYTES:
            pieces.append(bytes(piece))
        else:
            pieces.clear()
    return b"".join(pieces) if size <= KEPT_BYTES else None
