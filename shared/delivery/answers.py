"""Answers of the images API, made from what is stored: JSON whose images are read back and encoded as they leave.

No answer is ever held whole: each image goes from Blob Storage through base64 to the caller in pieces, so that ten
images of three megabytes cost a few hundred kilobytes of memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pybase64

from shared.platform import strict_json
from shared.platform.blobs import BlobClient


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """A JSON body in pieces: literal bytes, and between them the images to be encoded in their place."""

    literals: tuple[bytes, ...]
    blobs: tuple[str, ...]
    length: int

    async def chunks(self, blobs: BlobClient) -> AsyncIterator[bytes]:
        """The body, `length` bytes in all. Raises when an image cannot be read: the answer is then cut short."""
        for literal, name in zip(self.literals, self.blobs, strict=False):
            yield literal
            async for piece in _encoded(blobs, name):
                yield piece
        yield self.literals[-1]


def encode(body: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> EncodedImages:
    """The answer `body` (its `data` items hold an image's index as `b64_json`) with the stored `images` in place."""
    stored = {image["index"]: image for image in images}
    order: list[Mapping[str, Any]] = []
    data: list[dict[str, Any]] = []
    mark = _mark(body)
    for item in body.get("data", []):
        if isinstance(item, dict) and isinstance(item.get("b64_json"), int):
            order.append(stored[item["b64_json"]])
            item = {**item, "b64_json": mark}
        data.append(item)
    return _with_images(strict_json.encode({**body, "data": data}).split(mark.encode()), order)


def encode_events(kind: str, body: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> EncodedImages:
    """The same answer as a stream would have ended: one completed event an image, of which the first counts all tokens,
    so that the usages add up to the answer's."""
    operation = "image_edit" if kind == "edit" else "image_generation"
    echoes = {name: body[name] for name in ("size", "quality", "background", "output_format") if name in body}
    shared = {"created_at": body.get("created"), **echoes}
    more = {"darkroom": body["darkroom"]} if "darkroom" in body else {}
    stored = {image["index"]: image for image in images}
    literals = [b""]
    order: list[Mapping[str, Any]] = []
    usage = body.get("usage") or {}
    for item in body.get("data", []):
        if not isinstance(item, dict) or not isinstance(item.get("b64_json"), int):
            continue
        order.append(stored[item["b64_json"]])
        rest = {name: value for name, value in item.items() if name != "b64_json"}
        members = {"type": f"{operation}.completed", **shared, "usage": usage, **rest, **more}
        text = strict_json.encode(members)
        literals[-1] += b"event: " + operation.encode() + b".completed\ndata: " + text[:-1] + b',"b64_json":"'
        literals.append(b'"}\n\n')
        usage = _none_of(usage)
    return _with_images(literals, order)


def _with_images(literals: Sequence[bytes], images: Sequence[Mapping[str, Any]]) -> EncodedImages:
    encoded = sum((int(image["bytes"]) + 2) // 3 * 4 for image in images)
    blobs = tuple(str(image["blob"]) for image in images)
    return EncodedImages(tuple(literals), blobs, sum(map(len, literals)) + encoded)


def _none_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """The same counts, all zero."""
    return {name: _none_of(value) if isinstance(value, dict) else 0 for name, value in usage.items()}


def _mark(body: Mapping[str, Any]) -> str:
    """A text that stands nowhere in `body`, to cut it at."""
    text = strict_json.encode(body).decode()
    mark = "@image@"
    while mark in text:
        mark += "@"
    return mark


async def _encoded(blobs: BlobClient, name: str) -> AsyncIterator[bytes]:
    carry = b""
    async with await blobs.read(name) as blob:
        async for chunk in blob.chunks():
            piece = carry + chunk if carry else chunk
            whole = len(piece) - len(piece) % 3
            carry = bytes(piece[whole:])
            if whole:
                yield pybase64.b64encode(memoryview(piece)[:whole])
    if carry:
        yield pybase64.b64encode(carry)
