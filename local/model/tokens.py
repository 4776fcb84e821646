"""Token counts, as the usage member of an answer reports them.

Sources: the output table of OpenAI's image generation guide (the same in Azure's overview page), the tile rule of the
vision guide, and community.openai.com t/1281361 for the rounding. The text tokenizer is unpublished: an estimate.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

_OUTPUT_TABLE = {
    "low": {"square": 272, "portrait": 408, "landscape": 400},
    "medium": {"square": 1056, "portrait": 1584, "landscape": 1568},
    "high": {"square": 4160, "portrait": 6240, "landscape": 6208},
}
_FIXED = {(1024, 1024): "square", (1024, 1536): "portrait", (1536, 1024): "landscape"}
_BEYOND_HIGH = {"xhigh": 1.5, "max": 2.0}
TOKENS_PER_PARTIAL_IMAGE = 100
EXTRA_TEXT_TOKENS_PER_EDIT = 32
"""Seen in real usage of single-image edits, undocumented; added only when the knob `edit_text_surcharge` is on."""


def output_image_tokens(quality: str, width: int, height: int) -> int:
    """Tokens of one image. Sizes outside the table (gpt-image-2) are estimated by area from the square, rounded up."""
    row = _OUTPUT_TABLE[quality if quality in _OUTPUT_TABLE else "high"]
    factor = _BEYOND_HIGH.get(quality, 1.0)
    shape = _FIXED.get((width, height))
    if shape:
        return math.ceil(row[shape] * factor)
    return math.ceil(row["square"] * factor * width * height / (1024 * 1024))


def input_image_tokens(width: int, height: int, *, high_fidelity: bool = False) -> int:
    """Tokens of one input image: fit in 2048 by 2048, shrink the shorter side to 512, then 65 + 129 for each 512 tile.

    The scaled sides are rounded down, as the real service was seen to do (1024x1025 costs one tile). Never enlarged.
    `high_fidelity` adds 4160 for a square image and 6240 for any other.
    """
    # 1e-9 keeps an exact 512 from becoming 511 by binary fractions; a scale of 1 changes nothing.
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 512 / min(width, height))
    tiles = math.prod(math.ceil(max(1, math.floor(side * scale + 1e-9)) / 512) for side in (width, height))
    fidelity = (4160 if width == height else 6240) if high_fidelity else 0
    return 65 + 129 * tiles + fidelity


def text_tokens(prompt: str) -> int:
    """Estimate: one token for each four letters or digits of a word, for each CJK character, and for each mark; plus 7.

    The 7 stand for what the service wraps around a prompt.
    """
    count = 7
    for word in re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+|[^\w\s]", prompt):
        count += max(1, math.ceil(len(word) / 4))
    return count


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    text_in: int
    image_in: int
    image_out: int

    def as_json(self, *, output_details: bool = True) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "input_tokens": self.text_in + self.image_in,
            "input_tokens_details": {"image_tokens": self.image_in, "text_tokens": self.text_in},
            "output_tokens": self.image_out,
            "total_tokens": self.text_in + self.image_in + self.image_out,
        }
        if output_details:
            usage["output_tokens_details"] = {"image_tokens": self.image_out, "text_tokens": 0}
        return usage
