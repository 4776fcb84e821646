"""The usage member of an answer, from what was asked."""

from __future__ import annotations

from typing import Any

from local.model.behaviour import Knobs
from local.model.parameters import ImageCall
from local.model.tokens import (
    EXTRA_TEXT_TOKENS_PER_EDIT,
    TOKENS_PER_PARTIAL_IMAGE,
    Usage,
    input_image_tokens,
    output_image_tokens,
    text_tokens,
)


def usage_of(call: ImageCall, knobs: Knobs, *, images: int, with_input: bool = True) -> dict[str, Any]:
    """Usage for `images` pictures of a call; without the input for the later events of a stream."""
    output = output_image_tokens(call.quality, call.width, call.height)
    if call.stream:
        output += TOKENS_PER_PARTIAL_IMAGE * call.partial_images
    text_in = image_in = 0
    if with_input:
        text_in = text_tokens(call.prompt)
        if call.operation == "edits" and knobs.edit_text_surcharge:
            text_in += EXTRA_TEXT_TOKENS_PER_EDIT
        image_in = sum(
            input_image_tokens(source.width, source.height, high_fidelity=call.high_fidelity) for source in call.sources
        )
    return Usage(text_in, image_in, output * images).as_json(output_details=knobs.output_details)
