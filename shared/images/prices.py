"""What a million tokens cost, by model: the table this app comes with, and the reading of one an operator puts in its
place.

Who comes in: `pricing` and `estimates` with a table in hand; the pipeline, which knows whose table holds.

`prices.json` holds what both vendors charge without commitment (they charge the same; LiteLLM's list is
model_prices_and_context_window.json). Regional and provisioned prices of Azure are not in it. Cached input is cheaper,
but the `usage` of an answer does not say what was cached, so the full price stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any

from shared.images.capabilities import undated
from shared.images.fields import shown

_CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217
_MEMBERS = ("currency", "models", "source")
_MOST_MODELS = 1_000
_MOST_CHARS = 128
_DEAREST = Decimal(1_000_000_000)
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Rates:
    """Money for a million tokens. `text_output` is None where images are all that comes out."""

    text_input: Decimal
    image_input: Decimal
    image_output: Decimal
    text_output: Decimal | None = None

    def to_dict(self) -> dict[str, str]:
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: f"{rate:f}" for name, rate in given.items() if rate is not None}


@dataclass(frozen=True, slots=True)
class Prices:
    """A whole table, in one currency (ISO 4217). `source` says where the figures come from."""

    currency: str
    models: Mapping[str, Rates]
    source: str | None = None

    def rates(self, model: str) -> Rates | None:
        """Those of `model`, whose name may end with the date of a version; None when the table has none."""
        name = model.strip().lower()
        return self.models.get(name) or self.models.get(undated(name))


class WrongPrices(ValueError):  # noqa: N818 - what is wrong, for whoever wrote the table
    """The text is no table of prices; the message says what is wrong and where."""


@cache
def published() -> Prices:
    """The table this app comes with."""
    return parse(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))


def parse(text: str) -> Prices:
    """The table in `text`: JSON of the form of `prices.json`. Raises `WrongPrices`."""
    try:
        # Decimal from the digits as written: 0.1 as a float is another number.
        data = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise WrongPrices("is no valid JSON") from error
    if not isinstance(data, Mapping):
        raise WrongPrices("is no JSON object")
    _refuse_unknown(data, _MEMBERS, "")
    currency, models, source = data.get("currency"), data.get("models"), data.get("source")
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise WrongPrices("needs 'currency', three capital letters such as 'USD'")
    if not isinstance(models, Mapping) or not 1 <= len(models) <= _MOST_MODELS:
        raise WrongPrices(f"needs 'models', an object of 1 to {_MOST_MODELS} models")
    if source is not None and not (isinstance(source, str) and len(source) <= _MOST_CHARS):
        raise WrongPrices(f"has a 'source' that is no text of at most {_MOST_CHARS} characters")
    return Prices(currency, {name.strip().lower(): _rates(name, rates) for name, rates in models.items()}, source)


def _rates(model: str, given: Any) -> Rates:
    where = f"models.{shown(model)}"
    if not isinstance(given, Mapping):
        raise WrongPrices(f"has '{where}', which is no object")
    names = [one.name for one in fields(Rates)]
    _refuse_unknown(given, names, f"{where}.")
    for name in names[:3]:
        if given.get(name) is None:
            raise WrongPrices(f"needs '{where}.{name}'")
    return Rates(**{name: _rate(f"{where}.{name}", value) for name, value in given.items() if value is not None})


def _rate(where: str, value: Any) -> Decimal:
    wrong = WrongPrices(f"has '{where}', which is no price of a million tokens, such as \"2.50\"")
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal) or len(str(value)) > _MOST_CHARS:
        raise wrong
    try:
        rate = Decimal(value)
    except InvalidOperation:
        raise wrong from None
    exponent = rate.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_DECIMALS or not 0 <= rate <= _DEAREST:
        raise wrong
    return rate


def _refuse_unknown(given: Mapping[str, Any], known: Any, where: str) -> None:
    for name in given:
        if name not in known:
            raise WrongPrices(f"has '{where}{shown(name)}', which is not known; known are {', '.join(known)}")


def _refuse(name: str) -> Any:
    raise ValueError(name)
