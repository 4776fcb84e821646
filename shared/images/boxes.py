"""Boxes: rectangles that say where an edit goes, in place of a mask, and the mask that is drawn from them.

1. `request` reads what the caller wrote (`parse_boxes`), before any image is known.
2. When the first image is stored, `draw` places each box on it and makes the PNG that the service is sent.

A box is in fractions of the image when all four of its numbers lie within 0 and 1, else in whole pixels: nobody means
the one pixel that `{"x": 0, "y": 0, "width": 1, "height": 1}` would be.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import invalid, missing, refuse_unknown, wrong_type

MAX_BOXES = 64
_MEMBERS = ("x", "y", "width", "height")
_ROUNDING = 0.001 + 1e-9
"""How far fractions may add up to more than 1: people write three decimals, floats add an error of their own."""
_PIECE_BYTES = 2**18
_PIXEL_BYTES = 4
_OPAQUE = b"\0\0\0\xff"
_CLEAR = b"\0\0\0\0"
_PLAIN, _AS_ABOVE = b"\0", b"\2"
"""PNG's filters None and Up (https://www.w3.org/TR/png-3/#9Filter-types): zeros under Up repeat the row above."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle from its top left corner: whole pixels (`int`) or, all four numbers, fractions (`float`)."""

    x: float
    y: float
    width: float
    height: float

    @property
    def in_fractions(self) -> bool:
        return isinstance(self.x, float)

    def to_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _MEMBERS}


def parse_boxes(value: Any) -> tuple[Box, ...]:
    """The boxes in `value`, decoded JSON: 1 to 64 objects with the numbers `x`, `y`, `width` and `height`.

    Raises `DarkroomError` naming the member (`boxes[2].width`). Whether pixels lie within the image is `draw`'s to say.
    """
    if not isinstance(value, list | tuple):
        raise wrong_type("boxes", "an array", value)
    if not 1 <= len(value) <= MAX_BOXES:
        raise invalid("boxes", f"Invalid 'boxes': expected an array of 1 to {MAX_BOXES} boxes, got {len(value)}.")
    return tuple(_box(f"boxes[{position}]", item) for position, item in enumerate(value))


def draw(boxes: Sequence[Box], width: int, height: int) -> bytes:
    """A PNG (RGBA) of `width` x `height` pixels whose alpha is 0 inside the boxes and opaque elsewhere.

    Takes about a second for the largest image there may be, and a few megabytes however large it is: call it in a
    thread. Raises `invalid_value`, naming the member, for a box that reaches out of the image.
    """
    placed = [_place(box, width, height, f"boxes[{position}]") for position, box in enumerate(boxes)]
    packer = zlib.compressobj(6)
    packed = [packer.compress(piece) for piece in _pixels(placed, width, height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"".join((*packed, packer.flush()))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


# -- reading -----------------------------------------------------------------------------------------------------------


def _box(param: str, value: Any) -> Box:
    if not isinstance(value, Mapping):
        raise wrong_type(param, "an object", value)
    refuse_unknown(value, _MEMBERS, param)
    numbers = {name: _number(f"{param}.{name}", value.get(name)) for name in _MEMBERS}
    for side in ("width", "height"):
        if not numbers[side]:
            raise invalid(f"{param}.{side}", f"Invalid '{param}.{side}': a box of no area; expected more than 0.")
    if all(number <= 1 for number in numbers.values()):
        return _fractions(param, numbers)
    for name, number in numbers.items():
        if number != int(number):
            raise invalid(
                f"{param}.{name}",
                f"Invalid '{param}.{name}': expected a whole number of pixels. A box is in fractions of the image when "
                "all four of its numbers lie within 0 and 1.",
            )
    return Box(**{name: int(number) for name, number in numbers.items()})


def _number(param: str, value: Any) -> float:
    if value is None:
        raise missing(param, "A box has x, y, width and height.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(param, "a number", value)
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(param, f"Invalid '{param}': expected a finite number.")
    if value < 0:
        raise invalid(param, f"Invalid '{param}': expected 0 or more; x and y count from the image's top left corner.")
    return value


def _fractions(param: str, numbers: Mapping[str, float]) -> Box:
    for start, side in (("x", "width"), ("y", "height")):
        if numbers[start] >= 1:
            raise _outside(f"{param}.{start}", "begins at or behind the edge of the image")
        if numbers[start] + numbers[side] > 1 + _ROUNDING:
            raise _outside(f"{param}.{side}", f"reaches out of the image: {start} and {side} add up to more than 1")
    # Adding 0.0 makes nothing of the sign of a negative zero, so that equal boxes look equal.
    return Box(**{name: float(number) + 0.0 for name, number in numbers.items()})


# -- placing -----------------------------------------------------------------------------------------------------------


def _place(box: Box, width: int, height: int, param: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels, the last two exclusive; always at least one pixel."""
    if box.in_fractions:
        (left, right), (top, bottom) = _scaled(box.x, box.width, width), _scaled(box.y, box.height, height)
        return left, top, right, bottom
    size = f"which is {width}x{height} pixels"
    for start, side, length in (("x", "width", width), ("y", "height", height)):
        first, extent = getattr(box, start), getattr(box, side)
        if first >= length:
            raise _outside(f"{param}.{start}", f"begins outside the first image, {size}")
        if first + extent > length:
            raise _outside(f"{param}.{side}", f"reaches out of the first image, {size}")
    return int(box.x), int(box.y), int(box.x + box.width), int(box.y + box.height)


def _scaled(start: float, extent: float, length: int) -> tuple[int, int]:
    first = min(round(start * length), length - 1)
    return first, max(first + 1, min(round((start + extent) * length), length))


def _outside(param: str, what: str) -> DarkroomError:
    return invalid(param, f"Invalid '{param}': the box {what}.")


# -- drawing -----------------------------------------------------------------------------------------------------------


def _pixels(placed: Sequence[tuple[int, int, int, int]], width: int, height: int) -> Iterator[bytes]:
    """The filtered rows of the PNG, in pieces: between two edges of boxes all rows are alike."""
    edges = sorted({0, height, *(edge for box in placed for edge in (box[1], box[3]))})
    same = width * _PIXEL_BYTES
    several = (_AS_ABOVE + bytes(same)) * (_PIECE_BYTES // same) if same < _PIECE_BYTES else b""
    for top, bottom in itertools.pairwise(edges):
        yield _PLAIN
        yield from _row([(left, right) for left, above, right, below in placed if above <= top < below], width)
        left_over = bottom - top - 1
        if several:
            whole, left_over = divmod(left_over, len(several) // (same + 1))
            for _ in range(whole):
                yield several
        for _ in range(left_over):
            yield _AS_ABOVE
            yield from _run(_CLEAR, width)


def _row(spans: Sequence[tuple[int, int]], width: int) -> Iterator[bytes]:
    """One row: clear within the spans, which may overlap, opaque between them."""
    drawn = 0
    for left, right in sorted(spans):
        yield from _run(_OPAQUE, left - drawn)
        yield from _run(_CLEAR, right - max(left, drawn))
        drawn = max(drawn, right)
    yield from _run(_OPAQUE, width - drawn)


def _run(pixel: bytes, count: int) -> Iterator[bytes]:
    most = _PIECE_BYTES // _PIXEL_BYTES
    for start in range(0, count, most):
        yield pixel * min(most, count - start)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
