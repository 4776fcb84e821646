"""Small pictures made for the tests of `shared.images`, by Pillow, so that readers and writer share no code."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image


def picture(size: tuple[int, int] = (8, 6), mode: str = "RGB", image_format: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    Image.new(mode, size).save(stream, image_format, **options)
    return stream.getvalue()


def mask(size: tuple[int, int] = (8, 6), hole: int = 0) -> bytes:
    """An opaque RGBA mask whose top left pixel has the alpha `hole`."""
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, hole))
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of just these chunks, with right lengths and checksums."""
    parts = [
        struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int, colour_type: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
