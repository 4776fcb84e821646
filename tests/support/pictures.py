"""Pictures for requests that are wrong, and for the good ones beside them."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib

from PIL import Image


def png(width: int = 64, height: int = 64, mode: str = "RGB", color: object = None) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), color or 0).save(out, "PNG")  # type: ignore[arg-type]
    return out.getvalue()


def jpeg(width: int = 64, height: int = 64) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "JPEG")
    return out.getvalue()


def gif() -> bytes:
    out = io.BytesIO()
    Image.new("P", (8, 8)).save(out, "GIF")
    return out.getvalue()


def good_mask(width: int = 64, height: int = 64) -> bytes:
    """Transparent everywhere."""
    return png(width, height, "RGBA", (0, 0, 0, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims `width` x `height` pixels."""
    small = png(8, 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return small[:8] + header + small[33:]


def with_text_bomb(picture: bytes, kind: bytes, megabytes: int = 200) -> bytes:
    """`picture` (PNG) with a compressed text that unpacks to `megabytes`."""
    head = b"k\0\0" if kind == b"zTXt" else b"k\0\1\0\0\0"
    return picture[:33] + chunk(kind, head + _packed_zeros(megabytes)) + picture[33:]


@functools.cache
def _packed_zeros(megabytes: int) -> bytes:
    squeeze = zlib.compressobj(9)
    block = bytes(2**20)
    return b"".join(squeeze.compress(block) for _ in range(megabytes)) + squeeze.flush()


def base64_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()
