"""The prices that hold: the operator's table of `TOKEN_PRICES`, else the one the app comes with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from shared.images import prices
from shared.images.prices import Prices, WrongPrices
from shared.settings import settings

_MOST_CHARS = 2**18


def current() -> Prices:
    """Read once: whoever replaces the file starts the app anew."""
    return _read(settings().token_prices)[0]


def problems() -> Iterator[str]:
    """What is wrong with the prices, in sentences for the health page."""
    wrong = _read(settings().token_prices)[1]
    if wrong is not None:
        yield f"TOKEN_PRICES {wrong}; the prices the app comes with stand."
    for model in sorted({entry.model for entry in settings().deployments}):
        if current().rates(model) is None:
            yield f"There are no token prices for the model '{model}': what its calls cost is not known."


@cache
def _read(setting: str | None) -> tuple[Prices, str | None]:
    """The table, and what is wrong with the setting."""
    if not setting:
        return prices.published(), None
    try:
        return prices.parse(_text(setting)), None
    except WrongPrices as error:
        return prices.published(), str(error)


def _text(setting: str) -> str:
    """The setting is the table itself or the path of a file, never an address to fetch."""
    if setting.lstrip().startswith("{"):
        return setting
    try:
        with Path(setting).open(encoding="utf-8-sig") as file:
            text = file.read(_MOST_CHARS + 1)
    except (OSError, ValueError) as error:
        raise WrongPrices("is neither a table of prices nor the path of a file of one") from error
    if len(text) > _MOST_CHARS:
        raise WrongPrices(f"names a file of more than {_MOST_CHARS} characters")
    return text
