"""The answer of the images API, decoded while it arrives; the model client comes in by `decode_images`.

1. `JsonScanner` (scanner.py) walks the JSON, hands out the text of the images and keeps everything else: the skeleton.
2. `Base64Decoder` turns that text into bytes, piece by piece, and carries at most three characters over.
3. `ResponseDecoder` puts the two together: bytes of images come out, and at the end the skeleton, parsed.

Nothing here ever holds an image, let alone an answer: memory is one chunk, plus the skeleton. The family has the manner
of httpx's decoders (`decode` and `flush`); an event of a stream differs only in the path of the image's string.
"""

from __future__ import annotations

import binascii
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any, Final, NoReturn, Protocol

import pybase64

from shared.errors import DarkroomError
from shared.model.listening import Listener
from shared.model.scanner import MAX_SKELETON_BYTES, JsonScanner, refuse_json

MAX_IMAGE_BYTES: Final = 64 * 2**20
MAX_IMAGES: Final = 10

IMAGE_PATH: Final[tuple[str | None, ...]] = ("data", None, "b64_json")
"""Where an image's text stands in an answer; None is any position of a list."""


class ImageSink(Protocol):
    """What takes the images: their bytes in order, then the end of each, before the next one begins."""

    async def piece(self, index: int, data: bytes) -> None: ...

    async def end(self, index: int) -> None: ...


async def decode_images(
    chunks: AsyncIterable[bytes],
    sink: ImageSink,
    listener: Listener | None = None,
    *,
    length: int | None = None,
    max_image_bytes: int = MAX_IMAGE_BYTES,
    max_skeleton_bytes: int = MAX_SKELETON_BYTES,
    max_images: int = MAX_IMAGES,
) -> dict[str, Any]:
    """Feeds the images of an answer to `sink` and returns the rest, each `b64_json` replaced by its image's index.

    The sink is awaited before more is read, so a slow one slows the sender and costs no memory. So is the listener, who
    is told of an answer, and its declared `length`, as soon as there is an image in it. An answer that is an
    error object (a 200 may hold one) is returned as it is. Raises DarkroomError with `response_not_json`,
    `response_broken_base64`, `response_cut`, `response_too_large`, `image_over_cap` or `response_without_images`;
    what the sink raises passes through. Images that had ended by then stay with the sink.
    """
    decoder = ResponseDecoder(
        max_image_bytes=max_image_bytes, max_skeleton_bytes=max_skeleton_bytes, max_images=max_images
    )
    held: list[bytes] | None = []
    async for chunk in arriving(chunks):
        if listener is not None and held is None:
            await listener.piece(chunk)
        for index, data in decoder.decode(chunk):
            if data is None:
                await sink.end(index)
            else:
                await sink.piece(index, data)
        if listener is not None and held is not None:
            held.append(chunk)
            if decoder.begun:
                await listener.began(streamed=False, length=length)
                for piece in held:
                    await listener.piece(piece)
                held = None
    answer = decoder.flush()
    if decoder.images == 0 and not isinstance(answer.get("error"), dict):
        raise DarkroomError("response_without_images", "The model's answer held no image.")
    return answer


async def arriving(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The chunks of an answer as they come. Raises `response_cut` where the connection ends before it does."""
    import httpx  # loaded with the first call to the model, not with the app

    try:
        async for chunk in chunks:
            yield chunk
    except httpx.TransportError as error:
        raise DarkroomError("response_cut", "The model's answer stopped before its end.") from error


class ResponseDecoder:
    """Handles one whole answer: pairs of image index and bytes, or None where an image ends, come out."""

    def __init__(
        self,
        *,
        max_image_bytes: int = MAX_IMAGE_BYTES,
        max_skeleton_bytes: int = MAX_SKELETON_BYTES,
        max_images: int = MAX_IMAGES,
    ) -> None:
        self.images = 0
        self._scanner = JsonScanner(IMAGE_PATH, max_skeleton_bytes=max_skeleton_bytes)
        self._base64 = Base64Decoder()
        self._max_image_bytes = max_image_bytes
        self._max_images = max_images
        self._size = 0

    @property
    def begun(self) -> bool:
        """Whether there was an image in what came."""
        return self.images > 0 or self._size > 0

    def decode(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        for text in self._scanner.decode(chunk):
            if self.images == self._max_images:
                raise DarkroomError("response_too_large", f"The model's answer held over {self._max_images} images.")
            data = self._base64.flush() if text is None else self._base64.decode(text)
            if data:
                self._size += len(data)
                if self._size > self._max_image_bytes:
                    raise DarkroomError("image_over_cap", f"An image was larger than {self._max_image_bytes} bytes.")
                yield self.images, data
            if text is None:
                yield self.images, None
                self._scanner.mark(self.images)
                self.images += 1
                self._size = 0

    def flush(self) -> dict[str, Any]:
        answer = self._scanner.flush()
        if not isinstance(answer, dict):
            refuse_json("is no object")
        # One check for whatever two readings of one document could differ in: names given twice, a number where an
        # image's text belongs. Otherwise a stored image could be another than the one its filter verdict speaks of.
        items = answer.get("data")
        texts = [item.get("b64_json") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        marks = [text for text in texts if text is not None]
        if marks != list(range(self.images)):
            refuse_json("has members that contradict each other")
        return answer


class Base64Decoder:
    """Handles base64 with padding (RFC 4648, section 4), cut anywhere."""

    def __init__(self) -> None:
        self._carry = b""
        self._padded = False

    def decode(self, text: bytes | memoryview) -> bytes:
        if self._padded and len(text):
            _refuse_base64("goes on after its padding")
        if self._carry:
            missing = 4 - len(self._carry)
            head = self._carry + bytes(text[:missing])
            if len(head) < 4:
                self._carry = head
                return b""
            self._carry = b""
            return self._group(head) + self.decode(text[missing:])
        whole = len(text) & ~3
        self._carry = bytes(text[whole:])
        return self._group(text[:whole]) if whole else b""

    def flush(self) -> bytes:
        if self._carry:
            _refuse_base64("has a length that is no multiple of four")
        self._padded = False
        return b""

    def _group(self, text: bytes | memoryview) -> bytes:
        if self._padded:
            _refuse_base64("goes on after its padding")
        try:
            # With `validate` pybase64 takes its vector path, which is also four times faster than without it.
            data = pybase64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            _refuse_base64("holds what is no base64")
        self._padded = len(data) * 4 != len(text) * 3
        return data


def _refuse_base64(what: str) -> NoReturn:
    raise DarkroomError("response_broken_base64", f"An image of the model's answer {what}.")
