"""Pictures to bytes: the three formats, padding for the oversize fault, and pixels changed beneath a manifest.

Sources: PNG specification section 5 (chunk layout), ISO/IEC 10918-1 annex B (JPEG marker segments).
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_JPEG_COMMENT_BYTES = 65_000
"""Below the 65,533 bytes that one marker segment can hold."""


def encode(image: Image.Image, output_format: str, compression: int) -> bytes:
    """The image as a file. `compression` 0 to 100 is the quality of a lossy format, 100 being the best.

    Azure's page describes the parameter as most compressed at 100, OpenAI's as a percentage of quality; the default of
    100 makes sense only as the latter.
    """
    out = io.BytesIO()
    if output_format == "png":
        image.save(out, "PNG", compress_level=1)
    elif output_format == "webp":
        image.save(out, "WEBP", quality=compression, method=2)
    else:
        image.convert("RGB").save(out, "JPEG", quality=max(1, min(compression, 98)))
    return out.getvalue()


def padded(content: bytes, output_format: str, size: int) -> bytes:
    """`content` grown to about `size` bytes by comments that no decoder shows; webp comes back as it is."""
    missing = size - len(content)
    if missing <= 0 or output_format == "webp":
        return content
    if output_format == "png":
        end = content.rindex(b"IEND") - 4
        return content[:end] + _png_chunk(b"zzZp", bytes(missing)) + content[end:]
    filler = bytes(_JPEG_COMMENT_BYTES)
    segment = b"\xff\xfe" + struct.pack(">H", len(filler) + 2) + filler
    return content[:2] + segment * -(-missing // len(segment)) + content[2:]


def tampered(content: bytes, output_format: str) -> bytes:
    """The same file with its manifest in place and other pixels, so that its data hash no longer matches."""
    return _tampered_png(content) if output_format == "png" else _tampered_jpeg(content)


def _tampered_png(content: bytes) -> bytes:
    chunks = _png_chunks(content)
    pixels = bytearray(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))
    (height,) = struct.unpack_from(">I", content, 20)
    row = len(pixels) // height
    # The middle of the middle row: never the byte before a row, which names its filter.
    pixels[row * (height // 2) + row // 2] ^= 0x55
    changed = bytearray(content[:8])
    written = False
    for kind, data in chunks:
        if kind != b"IDAT":
            changed += _png_chunk(kind, data)
        elif not written:
            changed += _png_chunk(b"IDAT", zlib.compress(bytes(pixels), 1))
            written = True
    return bytes(changed)


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += length + 12
    return chunks


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tampered_jpeg(content: bytes) -> bytes:
    """Changes one entry of the first quantisation table: every block decodes to something a little different."""
    position = 2
    while content[position + 1] != 0xDB:
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += length + 2
    changed = bytearray(content)
    changed[position + 5] = changed[position + 5] % 200 + 20
    return bytes(changed)
