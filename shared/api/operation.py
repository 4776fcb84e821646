"""One operation of the API: what of it is its own. `document` adds what all have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.api.schema import Schema, ref, string

JSON = "application/json"
FORM = "multipart/form-data"
EVENTS = "text/event-stream"
REFUSED_BODY = (400, 408, 413, 415, 429)
"""How a body is refused."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer. `media` maps media types to schemas; `headers` names header components, `may` those that are not
    always there."""

    description: str
    media: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """`function` is the name of the function that serves it; `errors` are the statuses it may refuse with beside those
    that every operation has. `is_open`: the platform asks for no key."""

    function: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    parameters: tuple[Schema, ...] = ()
    body: Mapping[str, Schema] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    is_open: bool = False

    @property
    def id(self) -> str:
        """`submitJob` for `submit_job`; HEAD beside GET is one function and two operations."""
        first, *others = self.function.split("_")
        if self.method == "head":
            first = "head"
        return first + "".join(word.capitalize() for word in others)


def json_answer(description: str, schema: str, headers: tuple[str, ...] = (), may: tuple[str, ...] = ()) -> Answer:
    return Answer(description, {JSON: ref(schema)}, headers, may)


def path(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def header(name: str, description: str, schema: Schema | None = None) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema or string()}
