"""A mask: a PNG of the first image's size whose alpha says where the edit goes (0: here; opaque: keep).

What a service would refuse, and what would be paid for without any effect, is refused before the call.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from shared.errors import DarkroomError
from shared.images.pixels import ImageHeader, inspect
from shared.images.sources import MAX_IMAGE_BYTES

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_MASK_BYTES = MAX_IMAGE_BYTES
"""OpenAI's guide gives a mask the 50 MB of an image, both specifications say 4 MB (for the model's predecessor). The
larger is kept: a service that disagrees refuses without charge, while we would refuse what it takes."""

_MAX_DECODED_PIXELS = 4_096 * 4_096
"""Above this (84 MB with its alpha apart) a mask is not decoded to look for transparent pixels; its header is read."""


def check_mask(mask: BinaryIO, first: ImageHeader, *, param: str = "mask") -> ImageHeader:
    """The header of `mask`, found fit for the edit of an image with the header `first`.

    Decodes the mask, 5 bytes a pixel and at most 84 MB: call it in a thread. Raises `DarkroomError`: `invalid_mask`
    for another kind or size, no alpha channel or nothing fully transparent; `invalid_image` or `image_too_large` for
    what `pixels.inspect` refuses.
    """
    header = inspect(mask, param=param, max_bytes=MAX_MASK_BYTES)
    if header.format != "png":
        raise _refusal(param, f"it is {header.content_type}; a mask is a PNG with an alpha channel")
    if (header.width, header.height) != (first.width, first.height):
        raise _refusal(
            param,
            f"it is {header.width}x{header.height} and the first image is {first.width}x{first.height}; "
            "both need the same size",
        )
    if not header.has_alpha:
        raise _refusal(param, "it has no alpha channel; save it as RGBA with alpha 0 where the edit goes")
    if header.width * header.height <= _MAX_DECODED_PIXELS and _least_alpha(mask, param) > 0:
        raise _refusal(
            param, "no pixel of it is fully transparent, so nothing would be edited; set alpha 0 where the edit goes"
        )
    return header


def alpha_of(mask: Picture) -> Picture:
    """The alpha of a mask that `check_mask` took, 0 to 255 for each pixel. Paletted and grey masks keep their
    transparency apart; RGBA has it as a band like any other."""
    return (mask if "A" in mask.getbands() else mask.convert("RGBA")).getchannel("A")


def _least_alpha(mask: BinaryIO, param: str) -> int:
    # Imported here: most requests have no mask, and the import takes longer than all else in this room.
    from PIL import Image

    try:
        with Image.open(mask, formats=["PNG"]) as image:
            levels = alpha_of(image).histogram()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DarkroomError(
            "invalid_image", f"Invalid image '{param}': its pixels cannot be read; send the whole file.", param=param
        ) from error
    finally:
        mask.seek(0)
    return next(level for level, count in enumerate(levels) if count)


def _refusal(param: str, what: str) -> DarkroomError:
    return DarkroomError("invalid_mask", f"Invalid '{param}': {what}.", param=param)
