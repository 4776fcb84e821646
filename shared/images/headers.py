"""What the first bytes of a PNG, JPEG or WebP say of it, and whether the file is whole. Nothing is decoded.

Each reader walks the container's own structure by seeking, in bounded steps and memory, so that a decompression bomb,
an inflated text chunk or a canvas of a gigabyte costs nothing to look at; an imaging library may set all of these up
on opening. `pixels` is the only caller and turns `BrokenImageError` into the caller's error.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

# A 50 MB PNG in the common 8 KiB pieces has about 6,400 chunks; a file of millions of empty ones is an attack on time.
_MAX_PARTS = 65_536
_SCAN_BYTES = 2**20
_TAIL_BYTES = 4_096
_END_OF_IMAGE = b"\xff\xd9"


class BrokenImageError(ValueError):
    """The file is not what its first bytes announce; the message says what is wrong, for the caller to read."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Width and height in pixels as stored (an EXIF orientation is not applied); `frames` above 1 is an animation."""

    width: int
    height: int
    has_alpha: bool = False
    frames: int = 1


def read_png(stream: BinaryIO, size: int) -> Facts:
    """https://www.w3.org/TR/png-3/#5DataRep: IHDR first, IDAT, IEND last; acTL announces an animation."""
    facts: tuple[int, int, int] | None = None
    has_alpha = has_data = False
    frames = 1
    position = 8
    for _ in range(_MAX_PARTS):
        stream.seek(position)
        length, kind = struct.unpack(">I4s", _exactly(stream, 8))
        end = position + 12 + length
        if end > size:
            raise BrokenImageError("the PNG ends before its last chunk does")
        if (facts is None) != (kind == b"IHDR"):
            raise BrokenImageError("the PNG does not begin with one header")
        if kind == b"IHDR":
            facts = _png_header(_exactly(stream, 17), length)
            has_alpha = facts[2] in (4, 6)
        elif kind == b"tRNS":
            has_alpha = True
        elif kind == b"acTL" and length == 8:
            frames = max(1, struct.unpack(">I", _exactly(stream, 4))[0])
        has_data = has_data or kind == b"IDAT"
        position = end
        if kind == b"IEND":
            if facts is None or not has_data:
                raise BrokenImageError("the PNG holds no image data")
            return Facts(facts[0], facts[1], has_alpha, frames)
    raise BrokenImageError("the PNG has too many chunks")


def read_jpeg(stream: BinaryIO, size: int) -> Facts:
    """ITU-T T.81 annex B: marker segments to the start of scan; then the end-of-image marker must come."""
    facts: Facts | None = None
    position = 2
    for _ in range(_MAX_PARTS):
        stream.seek(position)
        mark, code = _exactly(stream, 2)
        if mark != 0xFF:
            raise BrokenImageError("the JPEG has no marker where one is due")
        if code == 0xFF:  # a marker may be preceded by any number of fill bytes
            position += 1
            continue
        if code == 0x01 or 0xD0 <= code <= 0xD7:  # these stand alone
            position += 2
            continue
        if code in (0x00, 0xD8, 0xD9):
            raise BrokenImageError("the JPEG holds no image data")
        (length,) = struct.unpack(">H", _exactly(stream, 2))
        position += 2 + length
        if length < 2 or position > size:
            raise BrokenImageError("the JPEG ends before its header does")
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            _, height, width = struct.unpack(">BHH", _exactly(stream, 5))
            facts = Facts(width, height)
        elif code == 0xDA:
            if facts is None:
                raise BrokenImageError("the JPEG does not say its size")
            # Entropy-coded data never holds FF D9 (an FF there is followed by 00 or a restart marker); pictures may
            # follow the first one, as phones append them.
            # Nearly always it is at the very end; else the whole is searched, about a millisecond for a megabyte.
            tail = max(position, size - _TAIL_BYTES)
            if not _holds(stream, tail, _END_OF_IMAGE) and not _holds(stream, position, _END_OF_IMAGE):
                raise BrokenImageError("the JPEG ends before its image does")
            return facts
    raise BrokenImageError("the JPEG has too many segments")


def read_webp(stream: BinaryIO, size: int) -> Facts:
    """https://developers.google.com/speed/webp/docs/riff_container and RFC 9649 for the two bit streams."""
    stream.seek(4)
    (riff_size,) = struct.unpack("<I", _exactly(stream, 4))
    if riff_size + 8 > size:
        raise BrokenImageError("the WebP ends before its last chunk does")
    facts: Facts | None = None
    has_data = False
    frames = 0
    position = 12
    for _ in range(_MAX_PARTS):
        if position + 8 > riff_size + 8:
            break
        stream.seek(position)
        kind, length = struct.unpack("<4sI", _exactly(stream, 8))
        position += 8 + length + length % 2
        if position > riff_size + 8 + 1:
            raise BrokenImageError("the WebP ends before its last chunk does")
        facts = facts or _webp_chunk(stream, kind)
        has_data = has_data or kind in (b"VP8 ", b"VP8L", b"ANMF")
        frames += kind == b"ANMF"
    else:
        raise BrokenImageError("the WebP has too many chunks")
    if facts is None or not has_data:
        raise BrokenImageError("the WebP holds no image data")
    return Facts(facts.width, facts.height, facts.has_alpha, max(1, frames))


def _png_header(data: bytes, length: int) -> tuple[int, int, int]:
    width, height, _depth, colour_type = struct.unpack(">IIBB", data[:10])
    (checksum,) = struct.unpack(">I", data[13:17])
    if length != 13 or zlib.crc32(b"IHDR" + data[:13]) != checksum or colour_type not in (0, 2, 3, 4, 6):
        raise BrokenImageError("the PNG's header is broken")
    return width, height, colour_type


def _webp_chunk(stream: BinaryIO, kind: bytes) -> Facts | None:
    """The facts in one of the three chunks that hold them; the stream stands at the chunk's data."""
    if kind == b"VP8X":
        data = _exactly(stream, 10)
        return Facts(
            1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little"), bool(data[0] & 0x10)
        )
    if kind == b"VP8 ":
        data = _exactly(stream, 10)
        if data[3:6] != b"\x9d\x01\x2a":
            raise BrokenImageError("the WebP's image header is broken")
        width, height = struct.unpack("<HH", data[6:10])
        return Facts(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        data = _exactly(stream, 5)
        if data[0] != 0x2F:
            raise BrokenImageError("the WebP's image header is broken")
        bits = int.from_bytes(data[1:5], "little")
        return Facts(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1))
    return None


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise BrokenImageError("the file is cut")
    return data


def _holds(stream: BinaryIO, start: int, needle: bytes) -> bool:
    stream.seek(start)
    tail = b""
    while block := stream.read(_SCAN_BYTES):
        if needle in tail + block[: len(needle)] or needle in block:
            return True
        tail = block[-(len(needle) - 1) :]
    return False
