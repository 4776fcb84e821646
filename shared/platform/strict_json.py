"""JSON as the standard has it (RFC 8259): no NaN, no Infinity, no nesting beyond what the parser bears."""

from __future__ import annotations

import json
from typing import Any

from shared.errors import DarkroomError


def parse(text: bytes | bytearray | str, what: str = "The body") -> Any:
    """The value of `text`; bytes may be UTF-8, with or without a mark, UTF-16 or UTF-32.

    Raises `invalid_json`, which says of `what` where it stops being JSON; a `JSONDecodeError` is its cause.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise DarkroomError("invalid_json", f"{what} is no valid JSON{where}.") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
