"""Exact readers for the fields of a request: a value has the type the images API gives it, or the field is refused.

Every room of `shared.images` that reads what a caller sent comes through here, so that all doors say the same thing
in the same words: the service's own ("Invalid type for 'n': expected an integer, but got a string instead."). No
message repeats a prompt, image data, a URL or a metadata value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from shared.errors import DarkroomError

_SHOWN_CHARS = 64
# Whatever else Unicode calls a control character is a letter's own business (joiners, direction marks).
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def shown(value: str) -> str:
    """`value` fit to stand in a message or in `param`: printable, without quotes, at most 64 characters."""
    text = "".join(c if c.isprintable() and c != "'" else "?" for c in value[:_SHOWN_CHARS])
    return text + "…" if len(value) > _SHOWN_CHARS else text


def json_type(value: Any) -> str:
    """What JSON calls the type of `value`, with its article."""
    if value is None:
        return "null"
    # bool before int: Python counts True as an integer, JSON does not.
    names = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal number"),
        (str, "a string"),
        (Mapping, "an object"),
        (list | tuple, "an array"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "something else")


def wrong_type(param: str, expected: str, value: Any) -> DarkroomError:
    return DarkroomError(
        "invalid_type",
        f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead.",
        param=param,
    )


def missing(param: str, hint: str = "") -> DarkroomError:
    message = f"Missing required parameter: '{param}'."
    return DarkroomError("missing_required_parameter", f"{message} {hint}".rstrip(), param=param)


def refuse_unknown(given: Iterable[Any], known: Collection[str], within: str = "") -> None:
    """Refuse the first of the names `given` that is not known, by its name; `within` is the field that holds them."""
    for name in given:
        if name not in known:
            param = f"{within}.{shown(str(name))}" if within else shown(str(name))
            raise DarkroomError("unknown_parameter", f"Unknown parameter: '{param}'.", param=param)


def invalid(param: str, message: str) -> DarkroomError:
    return DarkroomError("invalid_value", message, param=param)


def unsupported(param: str, message: str) -> DarkroomError:
    return DarkroomError("unsupported_parameter", message, param=param)


def listed(values: Iterable[str]) -> str:
    """`values` as the service lists them: "'low', 'medium', and 'high'"."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def one_of(param: str, value: str, supported: Collection[str]) -> None:
    """Refuse `value` unless it is supported, naming what is."""
    if value not in supported:
        raise invalid(param, f"Invalid value: '{shown(value)}'. Supported values are: {listed(supported)}.")


def in_range(param: str, value: int, low: int, high: int) -> None:
    """Refuse an integer outside `low`..`high` in the service's words."""
    if value > high:
        found = f"{value}" if value < 10**9 else "a far larger one"
        raise invalid(
            param,
            f"Invalid '{param}': integer above maximum value. Expected a value <= {high}, but got {found} instead.",
        )
    if value < low:
        found = f"{value}" if value > -(10**9) else "a far smaller one"
        raise invalid(
            param,
            f"Invalid '{param}': integer below minimum value. Expected a value >= {low}, but got {found} instead.",
        )


def text(param: str, value: Any, *, most: int) -> str:
    """A string of 1 to `most` characters that can be encoded and holds no control characters but tab and newlines."""
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    if len(value) > most:
        raise invalid(
            param,
            f"Invalid '{param}': string too long. Expected at most {most} characters, but got {len(value)} instead.",
        )
    if not value.strip():
        raise invalid(param, f"Invalid '{param}': empty string. Expected at least 1 character that is not a space.")
    refuse_unencodable(param, value)
    if CONTROL.search(value):
        raise invalid(param, f"Invalid '{param}': it holds control characters other than tab and newline; remove them.")
    return value


def refuse_unencodable(param: str, value: str) -> None:
    """Half a surrogate pair is no character: UTF-8, and so storage and the model, cannot carry it."""
    if _SURROGATE.search(value):
        raise invalid(
            param,
            f"Invalid '{param}': it holds half of a surrogate pair (such as \\ud83d alone), which is no character; "
            "send whole characters.",
        )


def integer(param: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(param, "an integer", value)
    return value


def flag(param: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return value
