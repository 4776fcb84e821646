"""Blob Storage over plain REST, for what every request does: results go out here and come back for the HTTP doors, and
so do a job's `request.json` and `result.json`.

The SDK costs several times the processor time of these calls and holds what it sends; for all that is not hot (listing,
links, sources, copies, deletes) the SDK is used. Protocol: https://learn.microsoft.com/rest/api/storageservices/put-blob,
put-block, put-block-list, get-blob. No MD5 or CRC is sent: TLS already guards the way, and the sha256 kept beside each
result is the check that lasts.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from shared.errors import DarkroomError

if TYPE_CHECKING:
    import httpx

API_VERSION: Final = "2024-11-04"
WRITE_TRIES: Final = 16
"""Over a minute in all: what is written has been paid for."""
READ_TRIES: Final = 4
"""Under two seconds: somebody waits for an answer."""
_FIRST_DELAY: Final = 0.2  # seconds; doubled each time up to the longest
_LONGEST_DELAY: Final = 5.0
_TIMEOUT: Final = 120.0  # seconds for one try, of at most 8 MB
_TURN_BYTES: Final = 2**19  # what is sent without letting others have a turn of the loop
_PASSING: Final = frozenset({401, 408, 429, 500, 502, 503, 504})  # 401: the token ended on the way


class BlobResponse:
    """A stored blob on its way here: `status` is 200, or 206 for a range. Use it as an async context manager."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come, none kept; raises DarkroomError `storage_unavailable` if they stop early."""
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        import httpx

        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx.TransportError as error:
            raise _unavailable("stopped while a blob was read") from error

    async def aclose(self) -> None:
        await self._response.aclose()

    async def __aenter__(self) -> BlobResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class BlobClient:
    """Puts and reads blobs named `container/path`. `authorize` gives the Authorization header, `Bearer ...`."""

    def __init__(self, client: httpx.AsyncClient, service_uri: str, authorize: Callable[[], Awaitable[str]]) -> None:
        self._client = client
        self._service_uri = service_uri.rstrip("/")
        self._authorize = authorize

    async def put(
        self,
        name: str,
        pieces: Sequence[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Writes a blob at once, from its pieces as they are. Without `overwrite`, only if there is none of that name.

        Tried again for about a minute; a blob that one of our own tries left, as `metadata["sha256"]` shows, is
        success. Raises DarkroomError `storage_unavailable`.
        """
        headers = {"x-ms-blob-type": "BlockBlob", **_blob_headers(content_type, metadata, overwrite=overwrite)}
        await self._write(name, "", pieces, headers)

    async def put_block(self, name: str, block: str, pieces: Sequence[bytes]) -> None:
        """Stages a block, which nobody sees before it is committed; safe to repeat."""
        await self._write(name, f"?comp=block&blockid={quote(block, safe='')}", pieces, {})

    async def commit(
        self, name: str, blocks: Sequence[str], *, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Makes a blob of staged blocks, as `put` does without `overwrite`."""
        listed = "".join(f"<Uncommitted>{block}</Uncommitted>" for block in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {"content-type": "application/xml", **_blob_headers(content_type, metadata, overwrite=False)}
        await self._write(name, "?comp=blocklist", [body], headers)

    async def create_appendable(self, name: str, *, content_type: str) -> bool:
        """Makes an empty blob that grows by `append`; False if there is a blob of that name already."""
        headers = {"x-ms-blob-type": "AppendBlob", **_blob_headers(content_type, None, overwrite=False)}
        return await self._answered("", name, (), headers, refusal=409)

    async def append(self, name: str, pieces: Sequence[bytes], *, at: int) -> bool:
        """Appends one block (4 MiB at most, 50,000 to a blob) at byte `at`, whole or not at all; False if the blob is
        of another length by then, be it by a try of this very call whose answer was lost.

        https://learn.microsoft.com/rest/api/storageservices/append-block
        """
        headers = {"x-ms-blob-condition-appendpos": str(at)}
        return await self._answered("?comp=appendblock", name, pieces, headers, refusal=412)

    async def read(self, name: str, *, byte_range: str | None = None) -> BlobResponse:
        """A blob, or a range of it (`bytes=0-99`), as a stream.

        Raises DarkroomError `not_found`, `range_not_satisfiable` or `storage_unavailable`.
        """
        response = await self._send("GET", name, "", (), {"range": byte_range} if byte_range else {})
        if response.status_code in (200, 206):
            return BlobResponse(response)
        await response.aclose()
        if response.status_code == 404:
            raise DarkroomError("not_found", "There is no such blob.")
        if response.status_code == 416:
            raise DarkroomError("range_not_satisfiable", "The range lies outside the blob.")
        raise _refused(response)

    async def read_whole(self, name: str, *, byte_range: str | None = None) -> bytes:
        """A small blob, or a range of one. What stops early is read again; raises as `read` does."""
        for attempt in range(READ_TRIES):
            async with await self.read(name, byte_range=byte_range) as response:
                try:
                    return b"".join([chunk async for chunk in response.chunks()])
                except DarkroomError:
                    if attempt == READ_TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    async def _write(self, name: str, query: str, pieces: Sequence[bytes], headers: Mapping[str, str]) -> None:
        response = await self._send("PUT", name, query, pieces, headers)
        await response.aclose()
        # 400 is what a list of blocks gets that an earlier try has committed already.
        if response.status_code in (400, 409, 412) and await self._is_ours(name, headers):
            return
        if response.status_code != 201:
            raise _refused(response)

    async def _answered(
        self, query: str, name: str, pieces: Sequence[bytes], headers: Mapping[str, str], *, refusal: int
    ) -> bool:
        """Whether a write was done (201) or its condition refused it (`refusal`)."""
        response = await self._send("PUT", name, query, pieces, headers)
        await response.aclose()
        if response.status_code not in (201, refusal):
            raise _refused(response)
        return response.status_code == 201

    async def _is_ours(self, name: str, headers: Mapping[str, str]) -> bool:
        """Whether the blob that stands in the way is this one: a try whose answer was lost may have written it."""
        sha256 = headers.get("x-ms-meta-sha256")
        if sha256 is None:
            return False
        response = await self._send("HEAD", name, "", (), {})
        await response.aclose()
        return response.status_code == 200 and response.headers.get("x-ms-meta-sha256") == sha256

    async def _send(
        self, method: str, name: str, query: str, pieces: Sequence[bytes], headers: Mapping[str, str]
    ) -> httpx.Response:
        """The answer, unread, of the last of several tries. Every call here may be repeated without harm."""
        import httpx  # with the first call, not with the app
        from azure.core.exceptions import AzureError

        url = f"{self._service_uri}/{quote(name, safe='/')}{query}"
        length = {"content-length": str(sum(map(len, pieces)))} if method == "PUT" else {}
        failure: Exception | None = None
        tries = WRITE_TRIES if method == "PUT" else READ_TRIES
        for attempt in range(tries):
            if attempt:
                delay = min(_FIRST_DELAY * 2 ** (attempt - 1), _LONGEST_DELAY)
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            try:
                authorization = await self._authorize()
            except AzureError as error:
                failure = error
                continue
            standard = {
                "authorization": authorization,
                "x-ms-version": API_VERSION,
                "x-ms-date": formatdate(usegmt=True),
            }
            body = _Pieces(pieces) if method == "PUT" else None
            request = self._client.build_request(method, url, content=body, headers={**standard, **length, **headers})
            try:
                async with asyncio.timeout(_TIMEOUT):
                    response = await self._client.send(request, stream=True)
            except (httpx.TransportError, TimeoutError) as error:
                failure = error
                continue
            finally:
                if body:
                    body.close()
            if response.status_code not in _PASSING or attempt == tries - 1:
                return response
            await response.aclose()
        raise _unavailable("could not be reached") from failure


class _Pieces:
    """A request body of pieces that are in memory. Close it: request and response refer to each other, and would keep
    the pieces until the garbage collector comes by, which for a few large objects it seldom does."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def close(self) -> None:
        self._pieces = ()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        turn = 0
        for piece in self._pieces:
            yield piece
            turn += len(piece)
            if turn >= _TURN_BYTES:  # a fast network takes all at once, and the loop would do nothing else meanwhile
                turn = 0
                await asyncio.sleep(0)


def block_id(nonce: str, number: int) -> str:
    """A block's name; all of one blob must have one length. The nonce keeps blocks of an abandoned try apart."""
    return base64.b64encode(f"{nonce}-{number:05d}".encode()).decode()


def _blob_headers(content_type: str, metadata: Mapping[str, str] | None, *, overwrite: bool) -> dict[str, str]:
    headers = {"x-ms-blob-content-type": content_type}
    headers.update({f"x-ms-meta-{name}": value for name, value in (metadata or {}).items()})
    if not overwrite:
        headers["if-none-match"] = "*"
    return headers


def _refused(response: httpx.Response) -> DarkroomError:
    code = response.headers.get("x-ms-error-code", "no code")
    return _unavailable(f"answered {response.status_code} ({code})")


def _unavailable(what: str) -> DarkroomError:
    return DarkroomError("storage_unavailable", f"Blob Storage {what}.")
