"""JSON Schema of the OpenAPI 3.1 document, put into what Swagger 2.0 and the platform's designers know.

There is no null and no choice of schemas in it: a value that may be null is described by what it else is, and of
several forms the list is taken, else the object, else the first. Patterns are left out: the designers have a syntax of
their own, and the app says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

type Schema = dict[str, Any]

_KEPT = (
    *("type", "format", "enum", "default", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "uniqueItems", "maxProperties"),
)
_TITLES = {
    "n": "Number of Images",
    "id": "ID",
    "url": "URL",
    "sha256": "SHA-256",
    "b64_json": "Base64",
    "callback_url": "Callback URL",
    "Idempotency-Key": "Idempotency Key",
    "param": "Parameter",
}
_SMALL = {"of", "by", "at", "on", "in", "from", "to"}


class Definitions:
    """The components that were asked for, lowered."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self.components = components
        self._found: dict[str, Schema] = {}

    def ref(self, name: str) -> Schema:
        """A reference to a component, which is then among `found`."""
        if name not in self._found:
            self._found[name] = {}  # so that one that holds itself ends
            self._found[name] = lowered(self.components[name], self)
        return {"$ref": f"#/definitions/{name}"}

    def found(self) -> dict[str, Schema]:
        return dict(sorted(self._found.items()))


def lowered(schema: Mapping[str, Any], definitions: Definitions) -> Schema:
    """`schema` in the words of Swagger 2.0."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = definitions.components[name]
        # What is only a choice, or pairs of the caller's own, reads better where it stands.
        return lowered(found, definitions) if "properties" not in found else definitions.ref(name)
    if "anyOf" in schema and "properties" not in schema:
        chosen = lowered(_chosen(schema["anyOf"]), definitions)
        words = {"description": described(schema)} if "description" in schema and "$ref" not in chosen else {}
        return {**chosen, **words}
    plain = _value(schema)
    if "items" in schema:
        plain["items"] = lowered(schema["items"], definitions)
    if "properties" in schema:
        plain["properties"] = {name: member(name, one, definitions) for name, one in schema["properties"].items()}
        if required := [name for name in schema.get("required", ()) if not _may_be_null(schema["properties"][name])]:
            plain["required"] = required
    elif isinstance(schema.get("additionalProperties"), Mapping):
        plain["additionalProperties"] = lowered(schema["additionalProperties"], definitions)
    return plain


def _value(schema: Mapping[str, Any]) -> Schema:
    """What `schema` says of the value itself."""
    plain = {name: schema[name] for name in _KEPT if name in schema}
    if isinstance(plain.get("type"), list):
        plain["type"] = next(one for one in plain["type"] if one != "null")
    if "enum" in plain:
        plain["enum"] = [value for value in plain["enum"] if value is not None]
    if "exclusiveMinimum" in schema:
        plain |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if schema.get("contentEncoding") == "base64":
        plain["format"] = "byte"
    if plain.get("type") == "integer":
        plain["format"] = "int32"
    if "description" in schema:
        plain["description"] = described(schema)
    return plain


def member(name: str, schema: Mapping[str, Any], definitions: Definitions) -> Schema:
    """A member of an object, with its title; words beside a reference would be overlooked."""
    plain = lowered(schema, definitions)
    return plain if "$ref" in plain else {**entitled(name), **plain}


def body_of(schema: Mapping[str, Any], definitions: Definitions) -> tuple[dict[str, Schema], set[str]]:
    """The members of a body, lowered, and which of them are required in all of its forms."""
    forms = list(_forms(schema, definitions))
    members: dict[str, Schema] = {}
    for form in forms:
        for name, one in form["properties"].items():
            merged = lowered(one, definitions)
            if name in members and "enum" in merged:
                merged["enum"] = list(dict.fromkeys([*members[name]["enum"], *merged["enum"]]))
            members[name] = merged
    return members, set.intersection(*(set(form.get("required", ())) for form in forms))


def parameter_of(parameter: Mapping[str, Any]) -> Schema:
    """A parameter of path, query or header."""
    plain = lowered(parameter["schema"], Definitions({}))
    return {
        "name": parameter["name"],
        "in": parameter["in"],
        "required": parameter.get("required", False),
        **plain,
        **entitled(parameter["name"]),
        "description": described(parameter),
        **({"x-ms-url-encoding": "single"} if parameter["in"] == "path" else {}),
    }


def entitled(name: str) -> Schema:
    """The title of a field."""
    words = name.replace("-", " ").split("_")
    title = " ".join(word if number and word in _SMALL else word.capitalize() for number, word in enumerate(words))
    return {"x-ms-summary": _TITLES.get(name, title)}


def described(schema: Mapping[str, Any]) -> str:
    """The description as the designers show it: plain text that ends with a full stop."""
    text = str(schema.get("description", "")).replace("`", "").strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    """Whether null stands for it; to Swagger 2.0 it is then not there."""
    return "null" in schema.get("type", ()) or any(_may_be_null(one) for one in schema.get("anyOf", ()))


def _chosen(choices: list[Schema]) -> Schema:
    real = [one for one in choices if one.get("type") != "null"]
    lists = [one for one in real if one.get("type") == "array"]
    objects = [one for one in real if one.get("type") == "object" or "$ref" in one]
    return (lists or objects or real)[0]


def _forms(schema: Mapping[str, Any], definitions: Definitions) -> list[Mapping[str, Any]]:
    """The objects that `schema` is a choice of."""
    if "$ref" in schema:
        return _forms(definitions.components[schema["$ref"].rpartition("/")[2]], definitions)
    if "properties" in schema:
        # Of an estimate the single request is taken: one of several requests has them in `requests`.
        return [] if "requests" in schema["properties"] else [schema]
    return [form for choice in schema.get("anyOf", ()) for form in _forms(choice, definitions)]
