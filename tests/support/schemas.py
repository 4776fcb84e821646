"""Values held against the schemas of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

from shared.api import document

DOCUMENT = document.build()


@cache
def validator(name: str) -> jsonschema_rs.Validator:
    """The validator of a component. Its patterns are those of ECMAScript in what matters here: `$` is the very end."""
    return jsonschema_rs.Draft202012Validator(standing_alone({"$ref": f"#/components/schemas/{name}"}))


def fits(name: str, value: Any) -> bool:
    return bool(validator(name).is_valid(value))


def standing_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of the document with all it refers to."""
    return {**schema, "components": DOCUMENT["components"]}


def strict(schema: Any) -> Any:
    """`schema` with every object closed whose members the document lists, so that what it does not name shows."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(value) for name, value in schema.items()}
    if "properties" in closed and schema.get("type") in ("object", ["object", "null"]):
        closed.setdefault("additionalProperties", False)
    return closed


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit `schema`, of the words of JSON Schema that the document's requests use."""
    if "$ref" in schema:
        return st.deferred(lambda: values(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema.get("type", ())
    choices = [_OF_TYPE[name](schema) for name in ((types,) if isinstance(types, str) else types)]
    if "anyOf" in schema and not choices:
        choices = [values(choice) for choice in schema["anyOf"]]
    return st.one_of(choices)


def _string(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    low, high = schema.get("minLength", 0), schema.get("maxLength", 100)
    text = st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.text()
    return text.filter(lambda value: low <= len(value) <= high)


def _number(schema: dict[str, Any]) -> st.SearchStrategy[float]:
    above = schema.get("exclusiveMinimum")
    low = schema.get("minimum", 0) if above is None else above + 1
    return st.integers(low, low + 2_000) | st.floats(low - 1 if above is not None else low, low + 1, exclude_min=True)


def _object(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: values(one) for name, one in schema.get("properties", {}).items()}
    required = schema.get("required", ())
    if not members:  # pairs of the caller's own
        keys = st.text(min_size=1, max_size=schema.get("propertyNames", {}).get("maxLength", 20))
        return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=schema.get("maxProperties", 5))
    return st.fixed_dictionaries(
        {name: members[name] for name in required},
        optional={name: one for name, one in members.items() if name not in required},
    )


_OF_TYPE: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
    "integer": lambda one: st.integers(one.get("minimum"), one.get("maximum")),
    "number": _number,
    "string": _string,
    "array": lambda one: st.lists(values(one["items"]), min_size=one.get("minItems", 0), max_size=3),
    "object": _object,
}
