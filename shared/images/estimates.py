"""What a request would cost, before it is sent: tokens by the published tables, and money by a table of prices.

Who comes in: the door for estimates, and whoever has to say what a call of unknown outcome may have cost.

Each number is a `Range`: `expected` is what is told as the estimate, where `low` and `high` are what it cannot go
under or over. Where a choice is the model's (`auto`), or the size of a source is not known, the dearest is expected, so
that an estimate is rather too high. What is published nowhere is None, and never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.images.capabilities import capabilities, family, size_of
from shared.images.prices import Prices
from shared.images.pricing import MILLION, plain
from shared.images.request import ImageRequest
from shared.images.tokens import (
    PARTIAL_IMAGE_TOKENS,
    input_image_token_bounds,
    input_image_tokens,
    output_tokens,
    text_token_bounds,
    text_tokens,
)

WRAPPING_TOKENS = 64
"""More text tokens than a prompt was seen to be wrapped in: a few around it, and 32 with an edit."""

type Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Range:
    low: int
    expected: int | None
    high: int | None

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, _sum(self.expected, other.expected), _sum(self.high, other.high))

    def to_dict(self) -> dict[str, int | None]:
        return {"low": self.low, "expected": self.expected, "high": self.high}


NONE = Range(0, 0, 0)
_NOT_KNOWN = Range(0, None, None)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one request: its prompt, its sources, and all the images it asks for."""

    text: Range
    images: Range
    output: Range

    def usage(self) -> dict[str, Any] | None:
        """What is expected, in the form of an answer's `usage`; None when part of it is not known."""
        text, images, output = self.text.expected, self.images.expected, self.output.expected
        if text is None or images is None or output is None:
            return None
        return {
            "input_tokens": text + images,
            "output_tokens": output,
            "total_tokens": text + images + output,
            "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        }


@dataclass(frozen=True, slots=True)
class CostRange:
    """Money: `low` counts only what is known. `amount` is what is expected."""

    low: Decimal
    amount: Decimal | None
    high: Decimal | None
    currency: str

    def __add__(self, other: CostRange) -> CostRange:
        return CostRange(
            self.low + other.low, _sum(self.amount, other.amount), _sum(self.high, other.high), self.currency
        )

    def to_dict(self) -> dict[str, str | None]:
        return {
            "amount": None if self.amount is None else plain(self.amount),
            "currency": self.currency,
            "low": plain(self.low),
            "high": None if self.high is None else plain(self.high),
        }


def tokens_of(request: ImageRequest, model: str, sizes: Sequence[Size | None] = ()) -> Tokens:
    """What `request` takes with `model`. `sizes` are width and height of its sources in pixels, None for one that was
    not looked at; sources beyond `sizes` were not looked at either."""
    low, high = text_token_bounds(request.prompt)
    images = NONE
    for size in _all_sizes(request, sizes):
        images += _source(request, model, size)
    return Tokens(Range(low, text_tokens(request.prompt), high + WRAPPING_TOKENS), images, _output(request, model))


def cost_of(tokens: Tokens, model: str, prices: Prices) -> CostRange:
    """What `tokens` cost with `model`, which is not known when `prices` has none for it."""
    rates = prices.rates(model)
    if rates is None:
        return CostRange(Decimal(), None, None, prices.currency)
    parts = ((tokens.text, rates.text_input), (tokens.images, rates.image_input), (tokens.output, rates.image_output))
    amount: Decimal | None = Decimal()
    high: Decimal | None = Decimal()
    for part, rate in parts:
        amount = _sum(amount, None if part.expected is None else part.expected * rate / MILLION)
        high = _sum(high, None if part.high is None else part.high * rate / MILLION)
    low = sum((part.low * rate for part, rate in parts), Decimal()) / MILLION
    return CostRange(low, amount, high, prices.currency)


def assumptions(request: ImageRequest, model: str, sizes: Sequence[Size | None] = ()) -> Iterator[str]:
    """What the estimate rests on, a sentence each."""
    tokens = tokens_of(request, model, sizes)
    yield (
        "The tokens of the prompt are a guess, four bytes to a token, since the model's tokenizer is not published. "
        f"Low is one for each word, high one for each byte and {WRAPPING_TOKENS} for what the service puts around it."
    )
    if tokens.output.expected is None:
        yield f"How many tokens {model} takes for such an image is not published: they are not in the estimate."
    elif "auto" in (request.size, request.quality):
        yield "What 'auto' stands for is the model's choice: the dearest is counted, and the cheapest in low."
    if request.images and tokens.images.expected is None:
        yield f"How many tokens {model} takes for a source is not published: they are not in the estimate."
    elif None in _all_sizes(request, sizes):
        yield (
            "The size of a source that is no 'data' is not known before the job is made: the most tokens that one can "
            "take are counted, and the fewest in low."
        )
    if request.mask is not None or request.boxes:
        yield "Whether a mask takes tokens is not published: none are counted for it."


def _all_sizes(request: ImageRequest, sizes: Sequence[Size | None]) -> list[Size | None]:
    return [*sizes, *[None] * (len(request.images) - len(sizes))]


def _source(request: ImageRequest, model: str, size: Size | None) -> Range:
    fidelity = request.input_fidelity == "high"
    if size is None:
        bounds = input_image_token_bounds(model, high_fidelity=fidelity)
        return _NOT_KNOWN if bounds is None else Range(bounds[0], bounds[1], bounds[1])
    known = input_image_tokens(model, *size, high_fidelity=fidelity)
    return _NOT_KNOWN if known is None else Range(known, known, known)


def _output(request: ImageRequest, model: str) -> Range:
    row = capabilities(model)
    if family(model) is None or (request.size == "auto" and row.free_size is not None):
        return _NOT_KNOWN  # what a model of free sizes picks for itself is not published
    sizes = [one for one in row.sizes if one != "auto"] if request.size == "auto" else [request.size]
    qualities = [one for one in row.qualities if one != "auto"] if request.quality == "auto" else [request.quality]
    pixels = [size_of(size) for size in sizes]
    counts = [output_tokens(model, *size, quality) if size else None for size in pixels for quality in qualities]
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return _NOT_KNOWN
    # Fewer partial images may come than were asked for.
    most = request.n * (max(known) + request.partial_images * PARTIAL_IMAGE_TOKENS)
    return Range(request.n * min(known), most, most)


def _sum[T: (int, Decimal)](one: T | None, other: T | None) -> T | None:
    return None if one is None or other is None else one + other
