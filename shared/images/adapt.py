"""Requests written for DALL-E 3, put into the terms of a GPT-Image model before they are checked.

What was changed is said in the answer (`darkroom.adapted`), never silently done. Words of the old model that mean
nothing now are the only ones touched: a request in today's terms passes through unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.images.capabilities import Capabilities
from shared.images.fields import one_of, wrong_type

DALL_E_3 = "dall-e-3"

QUALITIES = {"hd": "high", "standard": "medium"}
SIZES = {"1792x1024": "1536x1024", "1024x1792": "1024x1536"}
# What OpenAI's reference says of the two: vivid leans towards hyper-real and dramatic images, natural makes more
# natural, less hyper-real looking ones.
STYLES = {
    "vivid": "Make the image vivid: dramatic and hyper-real.",
    "natural": "Make the image natural: true to life rather than hyper-real.",
}

Adapted = tuple[Mapping[str, str], ...]


def adapt(data: Mapping[str, Any], row: Capabilities) -> tuple[dict[str, Any], Adapted]:
    """`data` without DALL-E 3's words, and what was changed as `{"field", "from", "to"}`.

    `row` is the model's: a size it has is left alone. Raises `DarkroomError` for a `style` that never existed.
    """
    values = dict(data)
    adapted: list[Mapping[str, str]] = []

    quality = values.get("quality")
    if isinstance(quality, str) and quality in QUALITIES:
        values["quality"] = QUALITIES[quality]
        adapted.append({"field": "quality", "from": quality, "to": values["quality"]})

    size = values.get("size")
    if isinstance(size, str) and size in SIZES and not row.allows_size(size):
        values["size"] = SIZES[size]
        adapted.append({"field": "size", "from": size, "to": values["size"]})

    style = values.pop("style", None)
    if style is not None:
        if not isinstance(style, str):
            raise wrong_type("style", "a string", style)
        one_of("style", style, STYLES)
        if isinstance(values.get("prompt"), str) and values["prompt"].strip():
            values["prompt"] = f"{values['prompt']}\n{STYLES[style]}"
        adapted.append({"field": "style", "from": style, "to": "a sentence of the prompt"})
    return values, tuple(adapted)
