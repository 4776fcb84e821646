"""Images that are made of others, pixel by pixel: the derived ones. The pipeline's `derived` comes in, from a thread.

- `fit`: the model's image in a size that the model does not have.
- `preserve`: the model's image inside a mask, and outside it the pixels of the first source as they were.
- `check_source`: what `preserve` could not keep is refused before anything is paid.

What is made is never larger than `fitting.MAX_PIXELS`. Pillow holds 4 bytes a pixel, and of a composite the source and
the model's image at once; all else goes by bands. That and the encoded result is about 200 MB for 4096 x 4096 pixels.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.errors import DarkroomError
from shared.images.fitting import MAX_PIXELS, same_shape
from shared.images.masks import alpha_of

if TYPE_CHECKING:
    from PIL.Image import Image

FEATHER = 4
"""Pixels inside the mask's edge over which the source turns into the model's image."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_BAND = 256
_DEFAULT_JPEG_QUALITY = 95
_LANCZOS_REACH = 3
_ORIENTATION = 0x0112


class UnfitImageError(ValueError):
    """An image of which nothing can be made; the message says why, for the caller to read."""


def fit(image: BinaryIO, width: int, height: int, how: str, *, quality: int | None = None) -> bytes:
    """`image` (a PNG or JPEG of the model's) as one of `width` x `height`, in the same format.

    `cover` fills it and loses what is over at two sides, `contain` keeps all and pads two sides: with transparency
    where the image has any, else with white. `quality` is that of a JPEG, 0 to 100. Raises `UnfitImageError`.
    """
    picture, kind, profile = _read(image)
    if how == "cover":
        made = _resized(picture, (width, height), _middle(picture.size, (width, height)))
    else:
        made = _padded(picture, width, height)
    if kind == "JPEG":
        jpeg_quality = _DEFAULT_JPEG_QUALITY if quality is None else max(quality, 1)
        return _encoded(_as(made, "RGB"), "JPEG", quality=jpeg_quality, icc_profile=profile)
    return _encoded(made, "PNG", icc_profile=profile)


def preserve(image: BinaryIO, source: BinaryIO, mask: BinaryIO) -> bytes:
    """A PNG of the size of `source`: `image` where the alpha of `mask` is 0, and the pixels of `source` elsewhere.

    Outside the mask each pixel equals the source's. Inside, more than `FEATHER` pixels from its edge, each equals that
    of `image`, which is scaled where it has another size. (The sides of the image are no edge.) The source's colour
    profile is kept; its other metadata is not. Raises `UnfitImageError`.
    """
    alpha = _read_alpha(mask)
    made, _, profile = _read(source)
    edit, _, _ = _read(image)
    if alpha.size != made.size:
        raise UnfitImageError("the mask has another size than the first source")
    if not same_shape(made.size, edit.size):
        raise UnfitImageError(
            f"the model gave {edit.size[0]}x{edit.size[1]}, which cannot be put onto {made.size[0]}x{made.size[1]}"
        )
    if "A" in made.mode + edit.mode:
        made, edit = _as(made, "RGBA"), _as(edit, "RGBA")
    for box, weights in _bands(alpha):
        made.paste(_part(edit, made.size, box), box, weights)
    return _encoded(made, "PNG", icc_profile=profile)


def check_source(source: BinaryIO, param: str = "image") -> None:
    """Refuse a first source whose pixels cannot be kept. Decodes it: 4 bytes a pixel. `source` is an image that
    `pixels.inspect` took, of at most `fitting.MAX_PIXELS`. Raises `invalid_image` with `param`."""
    try:
        with _opened(source) as opened:
            problem = _problem(opened, source)
    except UnfitImageError as error:
        problem = f"{error}; send the whole file"
    finally:
        source.seek(0)
    if problem:
        raise DarkroomError("invalid_image", f"Invalid image '{param}': {problem}.", param=param)


def _problem(image: Image, source: BinaryIO) -> str:
    if image.mode == "CMYK":
        return "with 'preserve' its colours would have to be converted from CMYK; send it as RGB"
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA") or (image.format == "PNG" and _is_deep(source)):
        return "with 'preserve' its 16 bits for a colour would become 8; send it with 8"
    if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
        return "its EXIF orientation turns it, and 'preserve' would not know which way its mask lies; turn its pixels"
    return ""


def _is_deep(source: BinaryIO) -> bool:
    """Whether a PNG has 16 bits for a sample: the byte behind width and height
    (https://www.w3.org/TR/png-3/#11IHDR). Pillow makes 8 of them in most modes and does not say so."""
    source.seek(24)
    return source.read(1) == b"\x10"


# -- reading and writing -----------------------------------------------------------------------------------------------


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[Image]:
    """The image in `stream`, decoded. Its size is looked at before."""
    # Imported here: few requests make an image, and the import takes longer than all else in this room.
    from PIL import Image

    stream.seek(0)
    try:
        with Image.open(stream, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnfitImageError(f"{image.width}x{image.height} is over {MAX_PIXELS} pixels")
            image.load()
            yield image
    except UnfitImageError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise UnfitImageError("its pixels cannot be read") from error


def _read(stream: BinaryIO) -> tuple[Image, str | None, bytes | None]:
    """An image as RGB, or as RGBA where it has transparency, each of its colours as it is; its format and profile."""
    with _opened(stream) as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        return _as(image, "RGBA" if has_alpha else "RGB"), image.format, _profile(image)


def _read_alpha(stream: BinaryIO) -> Image:
    with _opened(stream) as image:
        return alpha_of(image)


def _as(image: Image, mode: str) -> Image:
    """`image` in `mode`; no copy where it is."""
    return image if image.mode == mode and "transparency" not in image.info else image.convert(mode)


def _profile(image: Image) -> bytes | None:
    """The ICC profile of an image, unless it speaks of other colours than RGB (ICC.1:2022 section 7.2.8)."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " else None


def _encoded(image: Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.info.clear()  # what a writer would take up unasked: colour keys, comments
    image.save(out, kind, **options)
    return out.getvalue()


# -- scaling -----------------------------------------------------------------------------------------------------------


def _resized(image: Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Image:
    from PIL.Image import Resampling

    return image.resize(size, Resampling.LANCZOS, box)


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part of `size` that has the shape of `wanted`, from its middle."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = min(wanted[0] * scale, size[0]), min(wanted[1] * scale, size[1])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _padded(image: Image, width: int, height: int) -> Image:
    from PIL import Image as Images

    scale = min(width / image.width, height / image.height)
    inner = max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale)))
    scaled = _resized(image, inner)
    if inner == (width, height):
        return scaled
    canvas = Images.new(image.mode, (width, height), (255, 255, 255, 0)[: len(image.mode)])
    canvas.paste(scaled, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _part(image: Image, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image:
    """The part `box` of `image` scaled to `size`; without scaling where it has that size."""
    if image.size == size:
        return image.crop(box)
    across, down = image.width / size[0], image.height / size[1]
    left, top, right, bottom = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    # What the filter looks at beside the part belongs to it: only then are parts alike to those of the whole.
    reach = int(_LANCZOS_REACH * max(across, down, 1)) + 2
    outer = (
        max(0, int(left) - reach),
        max(0, int(top) - reach),
        min(image.width, int(right) + 1 + reach),
        min(image.height, int(bottom) + 1 + reach),
    )
    inner = (left - outer[0], top - outer[1], min(right, image.width) - outer[0], min(bottom, image.height) - outer[1])
    return _resized(image.crop(outer), (box[2] - box[0], box[3] - box[1]), inner)


# -- the mask ----------------------------------------------------------------------------------------------------------


def _bands(alpha: Image) -> Iterator[tuple[tuple[int, int, int, int], Image]]:
    """The parts of an image that the mask opens, from above, with the weight of the edit in each: 0 where the mask
    keeps, 255 beyond the feather."""
    for top in range(0, alpha.height, _BAND):
        bottom = min(top + _BAND, alpha.height)
        above, below = max(0, top - FEATHER), min(alpha.height, bottom + FEATHER)
        inside = alpha.crop((0, above, alpha.width, below)).point([255] + [0] * 255)
        weights = _feathered(inside).crop((0, top - above, alpha.width, bottom - above))
        found = weights.getbbox()
        if found is not None:
            yield (found[0], top + found[1], found[2], top + found[3]), weights.crop(found)


def _feathered(inside: Image) -> Image:
    """`inside` (255, else 0) with steps towards its edge, the lowest outermost."""
    from PIL import ImageChops

    weights = inside.point([0] * 255 + [255 // (FEATHER + 1)])
    for step in range(2, FEATHER + 2):
        inside = _shrunk(inside)
        weights = ImageChops.lighter(weights, inside.point([0] * 255 + [255 * step // (FEATHER + 1)]))
    return weights


def _shrunk(inside: Image) -> Image:
    """`inside` without its outermost pixels; the sides of the image are none of its edges."""
    for across, down in ((1, 0), (0, 1)):
        inside = _darker_neighbour(inside, across, down)
    return inside


def _darker_neighbour(image: Image, across: int, down: int) -> Image:
    from PIL import ImageChops

    made = image
    for sign in (1, -1):
        moved = image.copy()
        moved.paste(image, (across * sign, down * sign))
        made = ImageChops.darker(made, moved)
    return made
