"""The pictures an edit brings: how many, of what type and size, and the mask that goes with the first.

Sources: OpenAI's OpenAPI description (1 to 16 images under 50 MB), Azure's how-to page (PNG or JPG; the mask has the
first image's dimensions), message texts quoted in openai-ruby#147, go-openai#1012, new-api#1159.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from local.model.body import FilePart
from local.model.errors import ServiceError, backend_error, invalid_value, missing_parameter

MAX_IMAGES = 16
MAX_IMAGE_BYTES = 50 * 1024 * 1024
MAX_MASK_BYTES = 4 * 1024 * 1024
"""Both specifications say 4 MB; the guide's 50 MB is the more generous reading."""
MAX_PIXELS = 100_000_000
_PILLOW_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP"}


@dataclass(frozen=True)
class Source:
    """A source image or mask, known to open. Sizes in pixels; `content_type` is what its bytes are."""

    file: BinaryIO
    content_type: str
    width: int
    height: int


def read_sources(parts: list[FilePart], *, webp: bool) -> tuple[list[Source], Source | None]:
    """The images in their order, and the mask. Blocking. Raises ServiceError naming the part at fault."""
    images = [part for part in parts if part.field in ("image", "image[]")]
    masks = [part for part in parts if part.field == "mask"]
    if not images:
        raise missing_parameter("image")
    if len(images) > MAX_IMAGES:
        raise backend_error(
            f"Invalid 'image': array too long. Expected an array with maximum length {MAX_IMAGES}, but got an array "
            f"with length {len(images)} instead.",
            code="array_above_max_length",
            param="image",
        )
    if len(masks) > 1:
        raise backend_error("Duplicate parameter: 'mask'.", code="duplicate_parameter", param="mask")
    supported = ("image/jpeg", "image/png", "image/webp") if webp else ("image/jpeg", "image/png")
    sources = [_open(part, "image", position, supported) for position, part in enumerate(images, start=1)]
    return sources, _mask(masks[0], sources[0]) if masks else None


def _open(part: FilePart, param: str, position: int, supported: tuple[str, ...]) -> Source:
    _check_type(part, param, supported)
    if part.size >= MAX_IMAGE_BYTES:
        raise backend_error(
            f"Invalid file '{param}': file too large. Expected a file below 50 MB.", code="file_too_large", param=param
        )
    broken = backend_error(
        f"Invalid image file or mode for image {position}, please check your image file.",
        code="invalid_image_file",
        param=param,
        kind="image_generation_user_error",
    )
    try:
        with Image.open(part.file, formats=sorted({_PILLOW_FORMATS[kind] for kind in supported})) as image:
            width, height = image.size
            found = image.get_format_mimetype() or "image/png"
            if width * height > MAX_PIXELS:
                raise broken
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise broken from error
    finally:
        part.file.seek(0)
    return Source(part.file, found, width, height)


def _check_type(part: FilePart, param: str, supported: tuple[str, ...]) -> None:
    if not part.content_type:
        raise backend_error(
            f"Invalid file '{param}': failed to determine mimetype. Ensure you are providing the file's mimetype as "
            "part of the 'Content-Type' header.",
            code="missing_file_mimetype",
            param=param,
        )
    kind = part.content_type.partition(";")[0].strip().lower()
    if kind not in supported and not (kind == "image/jpg" and "image/jpeg" in supported):
        quoted = [f"'{item}'" for item in supported]
        if len(quoted) > 1:
            quoted[-1] = f"and {quoted[-1]}"
        listing = (", " if len(quoted) > 2 else " ").join(quoted)
        raise backend_error(
            f"Invalid file '{param}': unsupported mimetype ('{part.content_type}'). Supported file formats are "
            f"{listing}.",
            code="unsupported_file_mimetype",
            param=param,
        )


def _mask(part: FilePart, first: Source) -> Source:
    if part.size >= MAX_MASK_BYTES:
        raise backend_error(
            "Invalid file 'mask': file too large. Expected a file below 4 MB.", code="file_too_large", param="mask"
        )
    mask = _open(part, "mask", 0, ("image/png",))
    if (mask.width, mask.height) != (first.width, first.height):
        raise _mask_error(
            f"Invalid mask image: its size {mask.width}x{mask.height} does not match the size "
            f"{first.width}x{first.height} of the first image."
        )
    with Image.open(mask.file, formats=["PNG"]) as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
    mask.file.seek(0)
    if not has_alpha:
        raise _mask_error("Invalid mask image: the mask must have an alpha channel.")
    return mask


def _mask_error(message: str) -> ServiceError:
    """The real texts were never captured; the shape is the back end's."""
    return invalid_value("mask", message)
