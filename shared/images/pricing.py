"""What a call cost by its `usage`, and what one would cost before it is made.

Money is `Decimal` throughout. What is not known is None: a cost of 0 would be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.images.capabilities import capabilities, family, size_of
from shared.images.request import ImageRequest
from shared.images.tokens import PARTIAL_IMAGE_TOKENS, input_image_tokens, output_tokens, text_tokens

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for a million tokens. `text_output` is None where images are all that comes out."""

    text_input: Decimal
    image_input: Decimal
    image_output: Decimal
    text_output: Decimal | None = None


def _rates(*prices: str) -> Rates:
    return Rates(*map(Decimal, prices))


# Azure's and OpenAI's price pages as LiteLLM 1.109.1 lists them (model_prices_and_context_window.json); the two vendors
# charge the same. Regional and provisioned prices of Azure are not in it. Cached input is cheaper, but `usage` does not
# say what was cached, so the full price stands.
_NEW = _rates("5", "8", "30")
RATES: dict[str, Rates] = {
    "gpt-image-1": _rates("5", "10", "40"),
    "gpt-image-1-mini": _rates("2", "2.50", "8"),
    "gpt-image-1.5": _rates("5", "8", "32", "10"),
    "gpt-image-2": _NEW,
    "gpt-image-2.5-flare": _NEW,
    "gpt-image-2.5-sunburst": _NEW,
}


@dataclass(frozen=True, slots=True)
class Cost:
    amount: Decimal
    currency: str = "USD"

    def to_dict(self) -> dict[str, str]:
        """`{"amount": "0.1664", "currency": "USD"}`: plain decimal notation, no trailing zeros."""
        text = f"{self.amount:f}"
        return {"amount": text.rstrip("0").rstrip(".") if "." in text else text, "currency": self.currency}


def cost(usage: Mapping[str, Any] | None, model: str) -> Cost | None:
    """What `usage` (as the images API returns it) costs with `model`, None when either is not known.

    Tokens no breakdown accounts for are priced as images, in and out: the dearer kind, and what output nearly always
    is.
    """
    rates = RATES.get(family(model) or "")
    if rates is None or usage is None:
        return None
    total_in, total_out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if total_in is None or total_out is None:
        return None
    text_in = min(_detail(usage.get("input_tokens_details"), "text_tokens"), total_in)
    text_out = min(_detail(usage.get("output_tokens_details"), "text_tokens"), total_out)
    amount = (
        text_in * rates.text_input
        + (total_in - text_in) * rates.image_input
        + text_out * (rates.image_output if rates.text_output is None else rates.text_output)
        + (total_out - text_out) * rates.image_output
    ) / _MILLION
    return Cost(amount)


def estimate(request: ImageRequest, model: str, image_sizes: Sequence[tuple[int, int]] = ()) -> dict[str, Any] | None:
    """The `usage` that `request` should have with `model`, None where its token counts are not published.

    `image_sizes` are width and height in pixels of the sources. `auto` counts as the dearest choice, so that an
    estimate is rather too high; text tokens are a guess, and the few dozen an edit was seen to add are left out.
    """
    out = _dearest_output(request, model)
    fidelity = request.input_fidelity == "high"
    each_in = [input_image_tokens(model, *size, high_fidelity=fidelity) for size in image_sizes]
    known_in = [tokens for tokens in each_in if tokens is not None]
    if out is None or len(known_in) < len(each_in) or len(each_in) < len(request.images):
        return None
    text, images = text_tokens(request.prompt), sum(known_in)
    output = request.n * (out + request.partial_images * PARTIAL_IMAGE_TOKENS)
    return {
        "input_tokens": text + images,
        "output_tokens": output,
        "total_tokens": text + images + output,
        "input_tokens_details": {"text_tokens": text, "image_tokens": images},
    }


def _dearest_output(request: ImageRequest, model: str) -> int | None:
    row = capabilities(model)
    qualities = [one for one in row.qualities if one != "auto"] if request.quality == "auto" else [request.quality]
    sizes = [one for one in row.sizes if one != "auto"] if request.size == "auto" else [request.size]
    if request.size == "auto" and row.free_size is not None:
        return None  # what a model of free sizes picks for itself is not published
    counts = []
    for size in sizes:
        pixels = size_of(size)
        counts += [output_tokens(model, *pixels, quality) if pixels else None for quality in qualities]
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _detail(details: Any, name: str) -> int:
    return (_count(details, name) or 0) if isinstance(details, Mapping) else 0
