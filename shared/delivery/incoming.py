"""One image from its first byte to its blob; the result writer comes in by `IncomingImage`.

1. Pieces are kept as they come; the first twelve bytes must be an image's.
2. When it ends, a worker thread hashes it and reads its header and its C2PA manifest.
3. One Put Blob writes it under its final name, with all its headers: either it is there whole, or not at all.

An image over 8 MB goes up in blocks as it comes, hashed on the way, with a file beside for step 2, and appears when
they are committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, Final

from shared.delivery import provenance
from shared.delivery.memory import Share
from shared.delivery.pieces import PieceBuffer, reader
from shared.delivery.provenance import Provenance
from shared.errors import DarkroomError
from shared.images import pixels
from shared.platform.blobs import BlobClient, block_id

MAX_BUFFERED_BYTES: Final = 8 * 2**20
BLOCK_BYTES: Final = 4 * 2**20
MAX_IMAGE_BYTES: Final = 64 * 2**20
_MAGIC_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in its blob. `bytes` is its length, `sha256` in hex, `width` and `height` in pixels."""

    index: int
    blob: str
    content_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    provenance: Provenance


class IncomingImage:
    """An image that is being received. `stem` is its blob's name without the extension, which its magic decides.

    Raises DarkroomError `response_not_an_image` or `storage_unavailable`.
    """

    def __init__(self, blobs: BlobClient, index: int, stem: str, metadata: Mapping[str, str]) -> None:
        self._blobs = blobs
        self._index = index
        self._stem = stem
        self._metadata = metadata
        self._content_type = ""
        self._blob = ""
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._buffer = PieceBuffer()
        self._blocks: list[str] = []
        self._nonce = secrets.token_hex(4)
        self._file: BinaryIO | None = None
        self._memory = Share()

    async def add(self, data: bytes) -> None:
        await self._memory.take(len(data))
        self._buffer.add(data)
        self._size += len(data)
        if not self._content_type and self._size >= _MAGIC_BYTES:
            self._recognise()
        if self._buffer.size > (BLOCK_BYTES if self._file else MAX_BUFFERED_BYTES):
            await self._stage()

    async def end(self) -> None:
        """To be called once behind the last piece, before `store`."""
        self._memory.received()
        if not self._content_type:
            self._recognise()
        if self._file and self._buffer.size:
            await self._stage()

    async def store(self, known: Provenance | None = None) -> StoredImage:
        """Makes the blob. Nobody sees anything of it before. `known` is the provenance of these very bytes, where it
        was read already."""
        pieces = self._buffer.take()
        try:
            header, found = await _in_thread(self._look, pieces, known)
            metadata = {**self._metadata, "provenance": found.state, "sha256": self._sha256.hexdigest()}
            if self._file:
                await self._blobs.commit(self._blob, self._blocks, content_type=self._content_type, metadata=metadata)
            else:
                await self._blobs.put(self._blob, pieces, content_type=self._content_type, metadata=metadata)
        except _HeaderError as error:
            raise self._not_an_image() from error
        finally:
            self.close()
        return StoredImage(
            index=self._index,
            blob=self._blob,
            content_type=self._content_type,
            width=header.width,
            height=header.height,
            bytes=self._size,
            sha256=self._sha256.hexdigest(),
            provenance=found,
        )

    def close(self) -> None:
        """Lets go of what is held. Blocks that were staged and not committed storage drops by itself, after a week."""
        self._memory.received()
        self._memory.give_back()
        if self._file:
            self._file.close()

    def _recognise(self) -> None:
        self._content_type = pixels.content_type_of(self._buffer.head(_MAGIC_BYTES)) or ""
        if self._content_type not in pixels.EXTENSIONS:
            raise self._not_an_image()
        self._blob = f"{self._stem}.{pixels.EXTENSIONS[self._content_type]}"

    async def _stage(self) -> None:
        pieces = self._buffer.take()
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="image-")  # noqa: SIM115 - closed by `close`
        await _in_thread(self._set_aside, self._file, pieces)
        block = block_id(self._nonce, len(self._blocks))
        await self._blobs.put_block(self._blob, block, pieces)
        self._blocks.append(block)
        self._memory.give_back()

    def _set_aside(self, file: BinaryIO, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._sha256.update(piece)
            file.write(piece)

    def _look(self, pieces: Sequence[bytes], known: Provenance | None) -> tuple[pixels.ImageHeader, Provenance]:
        """Hash and read the whole image: `pieces`, or the file they were set aside in."""
        if not self._file:
            for piece in pieces:
                self._sha256.update(piece)
        source = self._file or reader(pieces)
        source.seek(0)
        try:
            header = pixels.inspect(source, max_bytes=MAX_IMAGE_BYTES)
        except DarkroomError as error:
            raise _HeaderError from error
        source.seek(0)
        return header, known or provenance.inspect(source, self._content_type)

    def _not_an_image(self) -> DarkroomError:
        return DarkroomError(
            "response_not_an_image", f"Item {self._index} of the model's answer is no PNG, JPEG or WebP image."
        )


class _HeaderError(Exception):
    """The header of an image could not be read."""


async def _in_thread[*A, R](work: Callable[[*A], R], *arguments: *A) -> R:
    return await asyncio.get_running_loop().run_in_executor(_threads(), work, *arguments)


@cache
def _threads() -> ThreadPoolExecutor:
    """Two threads for all answers: the work is the processor's, and each thread keeps memory of its own."""
    return ThreadPoolExecutor(2, thread_name_prefix="provenance")
