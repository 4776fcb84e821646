"""Words to write JSON Schema 2020-12 with, as plain data (https://json-schema.org/draft/2020-12)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

type Schema = dict[str, Any]

DATE_TIME: Schema = {"type": "string", "format": "date-time"}
OPEN: Schema = {"type": "object", "additionalProperties": True}
"""An object whose members are not ours to list."""


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def taken(members: Mapping[str, Schema], required: Collection[str] = (), description: str = "") -> Schema:
    """An object that a caller sends: other members are refused. Those not `required` may be null, which is the same as
    leaving them out."""
    return {
        "type": "object",
        **_described(description),
        "properties": {name: one if name in required else nullable(one) for name, one in members.items()},
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def given(members: Mapping[str, Schema], optional: Collection[str] = (), description: str = "") -> Schema:
    """An object that Darkroom answers: all its members are there but the `optional` ones. Later versions may add some,
    so it is not closed."""
    return {
        "type": "object",
        **_described(description),
        "properties": dict(members),
        "required": [name for name in members if name not in optional],
    }


def listed(items: Schema, least: int | None = None, most: int | None = None, description: str = "") -> Schema:
    bounds = {"minItems": least, "maxItems": most}
    return {
        "type": "array",
        **_described(description),
        "items": items,
        **{name: bound for name, bound in bounds.items() if bound is not None},
    }


def one_of(values: Iterable[str], description: str = "", **more: Any) -> Schema:
    return {"type": "string", **_described(description), "enum": list(dict.fromkeys(values)), **more}


def integer(low: int, high: int | None = None, description: str = "", **more: Any) -> Schema:
    top = {} if high is None else {"maximum": high}
    return {"type": "integer", **_described(description), "minimum": low, **top, **more}


def string(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **_described(description), **more}


def nullable(schema: Schema) -> Schema:
    """`schema`, or null."""
    if "type" not in schema:
        words = {name: schema[name] for name in ("description",) if name in schema}
        bare = {name: value for name, value in schema.items() if name not in words}
        choices = bare["anyOf"] if set(bare) == {"anyOf"} else [bare]
        return {**words, "anyOf": [*choices, {"type": "null"}]}
    either = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        either["enum"] = [*schema["enum"], None]
    return either


def _described(description: str) -> dict[str, str]:
    return {"description": description} if description else {}
