"""JSON from and for the outside: read as the standard has it (RFC 8259: no NaN, no Infinity, no nesting beyond what the
parser bears), and written so that nothing that was read can make writing fail.
"""

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


def encode(value: Any, *, indented: bool = False) -> bytes:
    """`value` as JSON in UTF-8 on one line, or `indented` for people to read.

    Half a surrogate pair, which JSON can escape and UTF-8 cannot hold, becomes a question mark: what is written here
    may have been paid for.
    """
    layout: dict[str, Any] = {"indent": 2} if indented else {"separators": (",", ":")}
    return json.dumps(value, ensure_ascii=False, **layout).encode(errors="replace")


def encodable(value: Any) -> Any:
    """`value`, which came out of JSON, as it reads when it was written with `encode`."""
    return json.loads(encode(value))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
