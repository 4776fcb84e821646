"""Sizes that the model does not have: which of its own is asked for instead, and what is made of the image that comes.

Who comes in: `request`, with what the caller wrote (`fit`), and whoever knows the first source's size (`settle`).
- `contain` or `cover` (the app's `SIZE_FIT`): an image of exactly the size that was asked for is made of the model's.
- `preserve` (the caller's): the image that is made has the size of the first source, and all its pixels outside the
  mask. The model is asked for a size of the same shape, since nobody could say where its image belongs otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.images.capabilities import Capabilities, size_of
from shared.images.fields import invalid, listed, one_of, unsupported, wrong_type

if TYPE_CHECKING:
    from shared.images.adapt import Adapted
    from shared.images.request import ImageRequest

REFUSE = "refuse"
PRESERVES = ("exact",)
MIN_EDGE, MAX_EDGE = 16, 4_096
MAX_PIXELS = MAX_EDGE * MAX_EDGE
"""Pixels of the first source, where its own are preserved: as many as an image can have that is fitted."""

_SAME_SHAPE = 0.01
"""How far two ratios of width to height may differ (in the logarithm) for the number of pixels to decide."""
_MAX_STRETCH = 0.02
"""The same, for the model's image to be put onto the first source: at most 1 pixel in 50 out of place at the edges."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request's fields with a size that the model has, what to remember for later, and what is told of it."""

    values: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    adapted: Adapted = ()


def fit(values: Mapping[str, Any], row: Capabilities, how: str) -> Fitted:
    """`values` as the model takes them. `how` is `contain`, `cover`, or `refuse`, which leaves sizes that the model
    does not have to `capabilities.check`. Raises `DarkroomError` for a size that nobody makes, and for a `preserve`
    that is none."""
    given = dict(values)
    size, pixels = _asked(given, row)
    if "preserve" in given:
        preserve = given.pop("preserve")
        if not isinstance(preserve, str):
            raise wrong_type("preserve", "a string", preserve)
        one_of("preserve", preserve, PRESERVES)
        options: dict[str, Any] = {"preserve": preserve}
        if size is not None:
            options["fitted_size"] = size
        if size is not None or "size" not in given:
            given["size"] = "auto"  # until the first source's size is known
        return Fitted(given, options)
    if size is None or pixels is None or how == REFUSE:
        return Fitted(given)
    if not all(MIN_EDGE <= edge <= MAX_EDGE for edge in pixels):
        raise invalid(
            "size", f"Invalid 'size': {size} is not made. Expected {MIN_EDGE} to {MAX_EDGE} pixels for each edge."
        )
    given["size"] = nearest(*pixels, row)
    return Fitted(given, {"fit": how, "fitted_size": size}, (_told(size, given["size"], how),))


def _asked(given: Mapping[str, Any], row: Capabilities) -> tuple[str | None, tuple[int, int] | None]:
    """The size that was asked for in pixels, if the model does not have it."""
    size = given.get("size")
    if not isinstance(size, str) or row.allows_size(size):
        return None, None
    pixels = size_of(size)
    return (size, pixels) if pixels else (None, None)


def check(request: ImageRequest) -> None:
    """Refuse what does not go together with an image that is made of the model's. Raises `DarkroomError`."""
    if not request.derives:
        return
    what = "'preserve'" if request.preserve else "a size that the model does not have"
    for name in ("stream", "partial_images"):
        if getattr(request, name):
            raise unsupported(name, f"'{name}' does not go with {what}, whose image is made at the end; leave it out.")
    if request.preserve is None:
        return
    if request.mask is None and not request.boxes:
        raise invalid("preserve", "Invalid 'preserve': it needs a 'mask' or 'boxes' to say what is not to be kept.")
    if request.output_format != "png":
        raise invalid(
            "output_format",
            f"Invalid 'output_format': 'preserve' keeps each pixel, which {request.output_format} does not; ask for "
            "'png'.",
        )


def settle(request: ImageRequest, row: Capabilities, width: int, height: int) -> ImageRequest:
    """A request that preserves, with the size to ask the model for, now that the first source is known to be `width` x
    `height`. Raises `invalid_value`, and `image_too_large` for more than `MAX_PIXELS`."""
    own = f"{width}x{height}"
    if width * height > MAX_PIXELS:
        param = request.images[0].param if request.images else "image"
        raise DarkroomError(
            "image_too_large",
            f"Image too large '{param}': {own} is over the {MAX_PIXELS} pixels that 'preserve' takes.",
            param=param,
        )
    if request.fitted_size not in (None, own):
        raise invalid(
            "size", f"Invalid 'size': with 'preserve' the image has the first source's size, {own}; leave 'size' out."
        )
    size = nearest(width, height, row) if request.size == "auto" else request.size
    pixels = size_of(size)
    if pixels is None or not same_shape((width, height), pixels):
        raise invalid(
            "preserve",
            f"Invalid 'preserve': the first source is {own}, and {row.model} makes no image of that shape"
            f"{'' if request.size == 'auto' else f' with a size of {size}'}: the edit would come out of place. Crop or "
            f"pad source and mask to the shape of {_shapes(row)}.",
        )
    told = _told(own, size, "preserve")
    return replace(request, size=size, fitted_size=own, adapted=(*request.adapted, told))


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether an image of one size can be put onto one of the other and still fit."""
    return _difference(*one, *other) <= _MAX_STRETCH


def nearest(width: int, height: int, row: Capabilities) -> str:
    """The size of the model's that an image of `width` x `height` is best made of: of its shape first, then large
    enough, then with the nearest number of pixels."""

    def rank(size: tuple[int, int]) -> tuple[float, bool, float]:
        difference = _difference(width, height, *size)
        return (
            0.0 if difference <= _SAME_SHAPE else round(difference, 6),
            size[0] < width or size[1] < height,
            abs(math.log(size[0] * size[1] / (width * height))),
        )

    best = min(_sizes(width / height, row), key=rank)
    return f"{best[0]}x{best[1]}"


def _sizes(ratio: float, row: Capabilities) -> Iterator[tuple[int, int]]:
    """The sizes the model has; where they are free, those of about `ratio`."""
    yield from filter(None, map(size_of, row.sizes))
    free = row.free_size
    if free is None:
        return
    ratio = min(max(ratio, 1 / free.max_ratio), free.max_ratio)
    for width in range(free.step, free.max_edge + 1, free.step):
        steps = width / ratio / free.step
        for height in {math.floor(steps) * free.step, math.ceil(steps) * free.step}:
            if height and free.allows(width, height):
                yield width, height


def _difference(width: int, height: int, other_width: int, other_height: int) -> float:
    return abs(math.log(width * other_height / (height * other_width)))


def _shapes(row: Capabilities) -> str:
    if row.free_size is not None:
        return f"at most {row.free_size.max_ratio}:1"
    return listed(size for size in row.sizes if size_of(size))


def _told(asked: str, size: str, how: str) -> Mapping[str, str]:
    return {"field": "size", "from": asked, "to": size, "how": how}
