"""What each model on each platform takes, as rows of data, and the one check of a request against its row.

Newer models take free sizes, more qualities and no `input_fidelity`; Azure takes no webp. Asking for what a model
cannot do is refused here, in the service's own words, before a turn at the model is spent on it.

Sources: the images API specification of Azure OpenAI 2025-04-01-preview and of OpenAI (openai-openapi), Azure's
"How to use image generation models", OpenAI's image generation guide. Where they disagree the row says which is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.images.fields import in_range, invalid, listed, one_of, shown, unsupported

if TYPE_CHECKING:
    from shared.images.request import ImageRequest

_SIZES = ("1024x1024", "1024x1536", "1536x1024", "auto")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class FreeSize:
    """Any width x height within these bounds, in pixels."""

    step: int
    max_edge: int
    max_ratio: int
    min_pixels: int
    max_pixels: int

    def allows(self, width: int, height: int) -> bool:
        return (
            width % self.step == 0
            and height % self.step == 0
            and max(width, height) <= self.max_edge
            and max(width, height) <= self.max_ratio * min(width, height)
            and self.min_pixels <= width * height <= self.max_pixels
        )

    def __str__(self) -> str:
        return (
            f"'auto', or WIDTHxHEIGHT with both multiples of {self.step}, no edge over {self.max_edge}, a ratio of at "
            f"most {self.max_ratio}:1 and {self.min_pixels} to {self.max_pixels} pixels in all"
        )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One row: a model on a platform. `input_fidelities` is empty where the field must be left out."""

    model: str
    platform: str
    sizes: tuple[str, ...] = _SIZES
    free_size: FreeSize | None = None
    qualities: tuple[str, ...] = ("low", "medium", "high", "auto")
    output_formats: tuple[str, ...] = ("png", "jpeg", "webp")
    backgrounds: tuple[str, ...] = ("auto", "opaque", "transparent")
    input_fidelities: tuple[str, ...] = ("low", "high")
    input_content_types: tuple[str, ...] = ("image/png", "image/jpeg", "image/webp")
    generate_moderations: tuple[str, ...] = ("auto", "low")
    edit_moderations: tuple[str, ...] = ("auto", "low")
    max_images: int = 16
    max_prompt_chars: int = 32_000
    max_n: int = 10
    max_partial_images: int = 3
    default_size: str = "1024x1024"
    default_quality: str = "high"

    def moderations(self, kind: str) -> tuple[str, ...]:
        return self.edit_moderations if kind == "edit" else self.generate_moderations

    def allows_size(self, size: str) -> bool:
        if size in self.sizes:
            return True
        pixels = size_of(size)
        return self.free_size is not None and pixels is not None and self.free_size.allows(*pixels)


# Multiples of 16, 1:3 to 3:1, at most 3840x2160 in all: OpenAI's specification. The least number of pixels is what its
# price calculator takes (community.openai.com/t/1382699).
_FREE_SIZE = FreeSize(step=16, max_edge=3_840, max_ratio=3, min_pixels=655_360, max_pixels=8_294_400)

_GPT_IMAGE_1 = Capabilities("gpt-image-1", "openai")
_ROWS: dict[str, Capabilities] = {
    row.model: row
    for row in (
        _GPT_IMAGE_1,
        replace(_GPT_IMAGE_1, model="gpt-image-1-mini", input_fidelities=()),
        replace(_GPT_IMAGE_1, model="gpt-image-1.5"),
        # Its input is always read at high fidelity, so the field must be left out. A transparent background is
        # variously called unsupported, preview and withdrawn: refused, since such a call may be paid for in vain.
        replace(
            _GPT_IMAGE_1,
            model="gpt-image-2",
            free_size=_FREE_SIZE,
            input_fidelities=(),
            backgrounds=("auto", "opaque"),
        ),
        *(
            replace(
                _GPT_IMAGE_1,
                model=model,
                free_size=_FREE_SIZE,
                input_fidelities=(),
                qualities=("low", "medium", "high", "xhigh", "max", "auto"),
            )
            for model in ("gpt-image-2.5-flare", "gpt-image-2.5-sunburst")
        ),
    )
}

# Azure says in prose that WEBP is not supported and lists png and jpeg in its specification; one table still has webp.
# An edit is multipart there and its schema has no `moderation`.
_AZURE = {
    "platform": "azure",
    "output_formats": ("png", "jpeg"),
    "input_content_types": ("image/png", "image/jpeg"),
    "edit_moderations": ("auto",),
}
_PLATFORMS: dict[str, Mapping[str, object]] = {"openai": {}, "azure": _AZURE}


def known_models() -> tuple[str, ...]:
    return tuple(_ROWS)


def family(model: str) -> str | None:
    """The known model that `model` names, with or without the date of a version; None when it is not known."""
    name = undated(model.strip().lower())
    return name if name in _ROWS else None


def undated(name: str) -> str:
    """The name of a model without the date of a version: `gpt-image-1` for `gpt-image-1-2025-04-15`."""
    return re.sub(r"-20\d\d-\d\d-\d\d$", "", name)


def problem(model: str) -> str | None:
    """A sentence for the health page when a configured model is not known, else None."""
    if family(model) is not None:
        return None
    return (
        f"The model '{shown(model)}' is not known here: requests for it are checked by the rules of gpt-image-1. "
        f"Known models are {listed(_ROWS)}."
    )


def capabilities(model: str, platform: str = "azure") -> Capabilities:
    """The row of `model` on `platform` (`azure` or `openai`).

    A model that is not known gets the rules of gpt-image-1: what that takes, every later model has taken too, so at
    worst a new possibility is refused with a message that says so, and never a call sent that is refused.
    """
    row = _ROWS[family(model) or _GPT_IMAGE_1.model]
    return replace(row, **_PLATFORMS[platform])  # type: ignore[arg-type]  # the rows above are its types


def size_of(size: str) -> tuple[int, int] | None:
    """Width and height in pixels of `WIDTHxHEIGHT`, None for `auto` and anything else."""
    match = _SIZE.fullmatch(size)
    return (int(match[1]), int(match[2])) if match else None


def check(request: ImageRequest, model: str, platform: str = "azure") -> None:
    """Refuse what `model` on `platform` cannot do. Raises `DarkroomError` naming the field and what is supported."""
    row = capabilities(model, platform)
    in_range("n", request.n, 1, row.max_n)
    _check_size(request.size, row)
    one_of("quality", request.quality, row.qualities)
    one_of("output_format", request.output_format, row.output_formats)
    one_of("background", request.background, row.backgrounds)
    one_of("moderation", request.moderation, row.moderations(request.kind))
    in_range("partial_images", request.partial_images, 0, row.max_partial_images)
    if len(request.prompt) > row.max_prompt_chars:
        raise invalid("prompt", f"Invalid 'prompt': {row.model} takes at most {row.max_prompt_chars} characters.")
    if len(request.images) > row.max_images:
        raise invalid("images", f"Invalid 'images': expected at most {row.max_images}, got {len(request.images)}.")
    _check_input_fidelity(request, row)
    _check_conflicts(request)


def _check_size(size: str, row: Capabilities) -> None:
    if row.free_size is None:
        one_of("size", size, row.sizes)
    elif not row.allows_size(size):
        raise invalid("size", f"Invalid value: '{shown(size)}'. Supported values are: {row.free_size}.")


def _check_input_fidelity(request: ImageRequest, row: Capabilities) -> None:
    if request.input_fidelity is None:
        return
    if not row.input_fidelities:
        raise unsupported("input_fidelity", f"'input_fidelity' is not supported by {row.model}; leave it out.")
    one_of("input_fidelity", request.input_fidelity, row.input_fidelities)


def _check_conflicts(request: ImageRequest) -> None:
    """Fields that are right alone and wrong together."""
    if request.output_compression is not None:
        in_range("output_compression", request.output_compression, 0, 100)
        if request.output_format == "png" and request.output_compression != 100:
            raise invalid(
                "output_compression",
                "Compression less than 100 is not supported for PNG output format; ask for output_format 'jpeg'.",
            )
    if request.background == "transparent" and request.output_format == "jpeg":
        raise invalid(
            "background", "Transparent background is not supported for JPEG output format; ask for output_format 'png'."
        )
    if request.stream and request.response_format == "url":
        raise unsupported(
            "response_format", "The events of a stream hold the images themselves; leave out 'response_format: url'."
        )
    if request.partial_images and not request.stream:
        raise invalid("partial_images", "Invalid 'partial_images': partial images come with 'stream': true only.")
