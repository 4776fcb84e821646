"""What a call cost, by its `usage`.

Money is `Decimal` throughout. What is not known is None: a cost of 0 would be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.images.prices import Prices

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    amount: Decimal
    currency: str

    def to_dict(self) -> dict[str, str]:
        """`{"amount": "0.1664", "currency": "USD"}`."""
        return {"amount": plain(self.amount), "currency": self.currency}


def plain(amount: Decimal) -> str:
    """`amount` in plain decimal notation, without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def cost(usage: Mapping[str, Any] | None, model: str, prices: Prices) -> Cost | None:
    """What `usage` (as the images API returns it) costs with `model`, None when either is not known.

    Tokens no breakdown accounts for are priced as images, in and out: the dearer kind, and what output nearly always
    is.
    """
    rates = prices.rates(model)
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
    ) / MILLION
    return Cost(amount, prices.currency)


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _detail(details: Any, name: str) -> int:
    return (_count(details, name) or 0) if isinstance(details, Mapping) else 0
