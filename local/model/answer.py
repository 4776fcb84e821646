"""The bodies of success: one JSON document, or server-sent events. Written piece by piece from the pictures' files.

Sources: `ImagesResponse` and the four image events of OpenAI's OpenAPI description; filter annotations of the Azure
OpenAI inference specification.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pybase64

from local.model.behaviour import Fault
from local.model.parameters import ImageCall
from local.model.studio import MadeImage

_READ_BYTES = 48 * 1024
"""A multiple of three, so that the base64 of consecutive reads joins without padding."""

_SAFE = {"filtered": False, "severity": "safe"}
CONTENT_FILTER_RESULTS = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}
PROMPT_FILTER_RESULTS = {
    **CONTENT_FILTER_RESULTS,
    "profanity": {"detected": False, "filtered": False},
    "jailbreak": {"detected": False, "filtered": False},
    "custom_blocklists": {"filtered": False, "details": []},
}


def compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class JsonAnswer:
    """`{"created", "background", "data": [...], "output_format", "quality", "size", "usage"}`, in that order."""

    def __init__(
        self,
        call: ImageCall,
        images: list[MadeImage],
        *,
        created: int,
        usage: dict[str, Any],
        annotations: bool,
        fault: Fault,
    ) -> None:
        self._images = images[:-1] if fault.fewer_images else images
        self._fault = fault
        tail: dict[str, Any] = {"output_format": call.output_format, "quality": call.quality, "size": call.size}
        if not fault.no_usage:
            tail["usage"] = usage
        self._head = compact({"created": created, "background": call.background})[:-1] + b',"data":['
        self._tail = b"]" + (b"," if not fault.broken_json else b"{,") + compact(tail)[1:]
        filters = {"prompt_filter_results": PROMPT_FILTER_RESULTS, "content_filter_results": CONTENT_FILTER_RESULTS}
        self._annotations = b"," + compact(filters)[1:-1] if annotations else b""

    @property
    def length(self) -> int:
        """Bytes of the document."""
        ends = sum(len(before) + len(after) for before, after in self._item_ends())
        commas = max(0, len(self._images) - 1)
        total = len(self._head) + ends + commas + sum(self._text_length(image) for image in self._images)
        total += len(self._tail)
        return total // 2 if self._fault.truncated_json else total

    async def pieces(self) -> AsyncIterator[bytes]:
        remaining = self.length
        for piece in self._pieces():
            yield piece[:remaining]
            remaining -= len(piece)
            if remaining <= 0:
                return

    def _pieces(self) -> Iterator[bytes]:
        yield self._head
        for number, (image, (before, after)) in enumerate(zip(self._images, self._item_ends(), strict=True)):
            yield b"," + before if number else before
            if self._text_length(image):
                broken = self._fault.broken_base64 and number == 0
                yield from _base64_pieces(image, broken=broken)
            yield after
        yield self._tail

    def _text_length(self, image: MadeImage) -> int:
        left_out = self._fault.null_b64 or self._fault.missing_b64 or self._fault.url_instead
        return 0 if left_out else -(-image.size // 3) * 4

    def _item_ends(self) -> list[tuple[bytes, bytes]]:
        """What stands before and after the base64 of each image."""
        if self._fault.null_b64:
            return [(b'{"b64_json":null', self._annotations + b"}")] * len(self._images)
        if self._fault.missing_b64:
            return [(b'{"revised_prompt":null', self._annotations + b"}")] * len(self._images)
        if self._fault.url_instead:
            return [(b'{"url":"https://127.0.0.1/none.png"', self._annotations + b"}")] * len(self._images)
        return [(b'{"b64_json":"', b'"' + self._annotations + b"}")] * len(self._images)


def event(name: str, image: MadeImage | None, members: dict[str, Any]) -> Iterator[bytes]:
    """One server-sent event: `event: NAME`, `data: {"type": NAME, ...}` with the image's base64 when there is one."""
    document = compact({"type": name, **members})
    yield b"event: " + name.encode() + b"\ndata: "
    if image is None:
        yield document
    else:
        yield document[:-1] + b',"b64_json":"'
        yield from _base64_pieces(image, broken=False)
        yield b'"}'
    yield b"\n\n"


def _base64_pieces(image: MadeImage, *, broken: bool) -> Iterator[bytes]:
    image.file.seek(0)
    while chunk := image.file.read(_READ_BYTES):
        text = pybase64.b64encode(chunk)
        if broken:
            middle = len(text) // 2
            text, broken = text[:middle] + b"!" + text[middle + 1 :], False
        yield text
