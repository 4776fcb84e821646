"""The text fields of a multipart form, as the data `request.parse` reads.

Edits come this way from the official clients. In a form everything is text, so numbers, booleans and nested values are
read here and nowhere else; files do not pass through here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import invalid, shown

_INTEGERS = frozenset({"n", "output_compression", "partial_images"})
_FLAGS = frozenset({"stream"})
_JSON = frozenset({"metadata", "images", "boxes"})
_IMAGES = frozenset({"image", "image[]", "images[]"})
_METADATA_KEY = re.compile(r"metadata\[(.+)\]", re.DOTALL)


def parse_form(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`fields` as a mapping in the types of a JSON body.

    `image`, `image[]` and `images[]` may repeat and are gathered as `image`; any other field twice is refused. An empty
    field counts as left out, as browsers send one for each input that nobody filled. `metadata` is JSON text or
    `metadata[key]` fields, as the official clients write nested values.
    """
    data: dict[str, Any] = {}
    images: list[str] = []
    pairs: dict[str, str] = {}
    for name, value in fields:
        nested = _METADATA_KEY.fullmatch(name)
        if nested:
            if nested[1] in pairs:
                raise _repeated(name)
            pairs[nested[1]] = value
        elif not value:
            continue
        elif name in _IMAGES:
            images.append(value)
        elif name in data:
            raise _repeated(name)
        else:
            data[name] = _value(name, value)
    if images:
        data["image"] = images
    if pairs:
        if "metadata" in data:
            raise _repeated("metadata")
        data["metadata"] = pairs
    return data


def _value(name: str, value: str) -> Any:
    if name in _INTEGERS:
        # Nine digits are more than any field takes and keep the conversion cheap.
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", value.strip()):
            raise _wrong_type(name, "an integer")
        return int(value)
    if name in _FLAGS:
        flags = {"true": True, "false": False}
        if value.strip().lower() not in flags:
            raise _wrong_type(name, "'true' or 'false'")
        return flags[value.strip().lower()]
    if name in _JSON:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong_type(name, "JSON text") from None
    return value


def _wrong_type(name: str, expected: str) -> DarkroomError:
    return DarkroomError(
        "invalid_type", f"Invalid type for '{name}': expected {expected}, but got other text instead.", param=name
    )


def _repeated(name: str) -> DarkroomError:
    return invalid(shown(name), f"Invalid '{shown(name)}': given more than once; send it once.")
