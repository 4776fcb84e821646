"""The sources of a request on their way in: each goes to its blob while it arrives, and is looked at as it passes.

1. A door opens an `Intake` under the id the job will have and hands on each file as it comes (`take`).
2. When the whole request is known, sources that came as text are stored the same way (`take_text`), and `check`
   holds the files against the rules of the model and the mask against the first image.
3. A refusal on the way calls `discard`: nothing of a request that was never accepted stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from typing import BinaryIO, cast

from shared.errors import DarkroomError
from shared.images import masks, pixels
from shared.images.capabilities import capabilities
from shared.images.pixels import ImageHeader
from shared.images.sources import MAX_IMAGE_BYTES, Source, decode_source_data
from shared.jobs.files import JobFiles, StoredSource

_IN_MEMORY_BYTES = 2**20
_TEXT_PIECE = 2**20


class Intake:
    """The files of one request to come. `images` and `mask` are what was stored so far."""

    def __init__(self, files: JobFiles) -> None:
        self.files = files
        self.images: list[StoredSource] = []
        self.mask: StoredSource | None = None
        self._kept = False
        self._params: dict[str, str] = {}
        self._mask_file: BinaryIO | None = None
        self._first_file: BinaryIO | None = None

    @property
    def first_file(self) -> BinaryIO:
        """The bytes of the first image, until the intake is kept or discarded."""
        if self._first_file is None:
            raise ValueError("no image was taken yet, or the intake is closed")
        return self._first_file

    async def take(self, field: str, chunks: AsyncIterable[bytes], param: str | None = None) -> Source:
        """Store a file of the field `image` or `mask`; its placeholder for the request. `param` is what the caller
        calls it, by default the field.

        Raises `invalid_image` or `image_too_large` when it is no image the rules can hold; the rest of `chunks` is
        then not read.
        """
        if field == "mask":
            if self.mask is not None:
                raise DarkroomError("invalid_value", "Send one mask only.", param="mask")
            param = param or "mask"
            stored = self.mask = await self._store("mask", param, chunks)
        else:
            position = len(self.images)
            param = param or ("image" if position == 0 else f"image[{position}]")
            stored = await self._store(f"source-{position}", param, chunks)
            self.images.append(stored)
        self._params[stored.name] = param
        return Source(stored=stored.name, param=param)

    async def take_text(self, field: str, text: str, param: str) -> Source:
        """Store a source that came as base64 text or data URL, like `take`."""
        data = await asyncio.to_thread(decode_source_data, text, MAX_IMAGE_BYTES, param=param)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), _TEXT_PIECE):
                yield data[start : start + _TEXT_PIECE]

        return await self.take(field, pieces(), param)

    async def check(self, model: str) -> None:
        """Hold what was stored against the rules of `model`. Raises `invalid_image` or `invalid_mask`."""
        accepted = capabilities(model).input_content_types
        for image in self.images:
            if image.content_type not in accepted:
                raise DarkroomError(
                    "invalid_image",
                    f"Images must be one of {', '.join(sorted(accepted))}; this is {image.content_type}.",
                    param=self._params[image.name],
                )
        if self._mask_file is not None and self.images:
            first = self.images[0]
            header = ImageHeader(
                pixels.EXTENSIONS[first.content_type], first.content_type, first.width, first.height, False, 1
            )
            await asyncio.to_thread(masks.check_mask, self._mask_file, header, param=self._params["mask"])

    def keep(self) -> None:
        """The job's row is about to be written: from here on it may exist, whatever else fails, and need its files."""
        self._kept = True
        self.close()

    async def discard(self) -> None:
        """Remove what was stored, unless it is to be kept; storage that fails here leaves it to retention."""
        self.close()
        if self._kept:
            return
        with contextlib.suppress(DarkroomError):
            await self.files.discard()

    def close(self) -> None:
        for file in filter(None, (self._mask_file, self._first_file)):
            file.close()
        self._mask_file = self._first_file = None

    async def _store(self, name: str, param: str, chunks: AsyncIterable[bytes]) -> StoredSource:
        # Kept whole beside the blob, on disk when it is large: an image is recognised by its end, too.
        copy = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))  # noqa: SIM115 - see close()
        try:
            length, sha256 = await self.files.put_source(name, _watched(chunks, copy, param))
            copy.seek(0)
            header = await asyncio.to_thread(pixels.inspect, copy, param=param)
        except BaseException:
            copy.close()
            raise
        if name == "mask":
            self._mask_file = copy
        elif name == "source-0":
            self._first_file = copy
        else:
            copy.close()
        return StoredSource(name, length, header.content_type, header.width, header.height, sha256)


async def _watched(chunks: AsyncIterable[bytes], copy: BinaryIO, param: str) -> AsyncIterator[bytes]:
    """Pass `chunks` on, write them to `copy` too, and stop at what is no image or too large to be one."""
    length = 0
    async for chunk in chunks:
        copy.write(chunk)
        if length == 0 and len(chunk) >= 12 and pixels.content_type_of(chunk[:32]) is None:
            raise DarkroomError("invalid_image", "The file is no image: send PNG or JPEG.", param=param)
        length += len(chunk)
        if length > MAX_IMAGE_BYTES:
            raise DarkroomError(
                "image_too_large", f"An image may have at most {MAX_IMAGE_BYTES // 2**20} MiB.", param=param
            )
        yield chunk
    if length == 0:
        raise DarkroomError("invalid_image", "The file is empty.", param=param)
