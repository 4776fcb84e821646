"""What an image is: its kind by its bytes, its size in pixels, and the guards that come before anyone decodes it.

Sources pass through here before they are sent to the model, results before they are described. Names and announced
types of files are never believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import BinaryIO

from shared.errors import DarkroomError
from shared.images.headers import BrokenImageError, Facts, read_jpeg, read_png, read_webp
from shared.images.sources import MAX_IMAGE_BYTES

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}

MAX_PIXELS = 75_000_000
"""Pixels of one source: more than a camera's usual 50 megapixels, and 300 MB at most if ever decoded to RGBA. The model
scales to 2048 pixels an edge anyway."""

_READERS: dict[str, Callable[[BinaryIO, int], Facts]] = {
    "image/png": read_png,
    "image/jpeg": read_jpeg,
    "image/webp": read_webp,
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """`format` is `png`, `jpeg` or `webp`; sizes are in pixels as stored, an EXIF orientation not applied."""

    format: str
    content_type: str
    width: int
    height: int
    has_alpha: bool = False
    frames: int = 1


def content_type_of(head: bytes) -> str | None:
    """The media type that the first 12 bytes of a file show, or None when it is no PNG, JPEG or WebP."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if head[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def inspect(
    stream: BinaryIO,
    *,
    param: str | None = "image",
    content_types: Collection[str] = tuple(EXTENSIONS),
    max_bytes: int = MAX_IMAGE_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> ImageHeader:
    """The header of the image in `stream` (seekable; read from its beginning, left there).

    Reads headers only; a JPEG is also searched for its end. Raises `DarkroomError` with `param`: `invalid_image` for
    what is none of `content_types`, is cut or broken, has no pixels or is animated; `image_too_large` above the caps.
    """
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise _refusal(param, "the file is empty")
    if size > max_bytes:
        raise _too_large(param, f"it has {size} bytes, at most {max_bytes} are taken")
    stream.seek(0)
    content_type = content_type_of(stream.read(12))
    if content_type is None:
        raise _refusal(param, f"it is no image of a known kind; send {_kinds(content_types)}")
    if content_type not in content_types:
        raise _refusal(param, f"it is {content_type}, which is not supported here; send {_kinds(content_types)}")
    try:
        facts = _READERS[content_type](stream, size)
    except BrokenImageError as error:
        raise _refusal(param, f"{error}; send the whole file") from None
    finally:
        stream.seek(0)
    if not facts.width or not facts.height:
        raise _refusal(param, "it has no pixels")
    if facts.width * facts.height > max_pixels:
        raise _too_large(param, f"{facts.width}x{facts.height} is over the {max_pixels} pixels that are taken")
    if facts.frames > 1:
        raise _refusal(param, f"it is animated ({facts.frames} frames); send a single image")
    return ImageHeader(
        content_type.removeprefix("image/"), content_type, facts.width, facts.height, facts.has_alpha, facts.frames
    )


def _kinds(content_types: Collection[str]) -> str:
    return " or ".join(content_types)


def _refusal(param: str | None, what: str) -> DarkroomError:
    return DarkroomError("invalid_image", f"Invalid image{_of(param)}: {what}.", param=param)


def _too_large(param: str | None, what: str) -> DarkroomError:
    return DarkroomError("image_too_large", f"Image too large{_of(param)}: {what}.", param=param)


def _of(param: str | None) -> str:
    return f" '{param}'" if param else ""
