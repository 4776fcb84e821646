"""The schemas of requests and the validators say the same: what one takes the other takes.

Which sizes, qualities or backgrounds a model has is the deployment's to say: a schema describes all models together,
and is held against a validator that is satisfied when any of them is.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.api import requests as described
from shared.errors import DarkroomError
from shared.images import sources
from shared.images.boxes import parse_boxes
from shared.images.capabilities import known_models
from shared.images.metadata import check_metadata
from shared.images.request import parse
from shared.pipeline import upload_links
from tests.support.schemas import DOCUMENT, fits
from tests.support.schemas import values as fitting

SCALARS = DOCUMENT["components"]["schemas"]["GenerateRequest"]["properties"]
EXACT = sorted(SCALARS.keys() - {"size", "callback_url", "metadata"})
"""Fields of which the schema says all there is to say."""

NULLS = st.none()
WORDS = st.text(max_size=40) | st.text(st.characters(max_codepoint=0x2100), max_size=5) | st.text(" \t\n\r\x0b\x85\xa0")
JSON = st.recursive(
    NULLS | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
NEEDED: dict[str, dict[str, Any]] = {
    "output_compression": {"output_format": "jpeg"},
    "partial_images": {"stream": True},
}
"""What another field has to say for a field to be taken at all."""


def refusals(data: Any, kind: str | None) -> list[DarkroomError]:
    """Why each known model refuses `data`; empty when one takes it."""
    found = []
    for model in known_models():
        named = data.get("model") if isinstance(data, dict) else None
        name = named if isinstance(named, str) else "the one"
        try:
            parse(data, kind=kind, deployments={name: model})
        except DarkroomError as error:
            found.append(error)
        else:
            return []
    return found


def is_blank_to_some(text: str) -> bool:
    """Whether `text` is nothing but spaces to one of Python and ECMAScript (a schema's patterns), but not to both."""
    odd = "\x1c\x1d\x1e\x1f\x85\ufeff"
    return not text.strip().strip(odd).strip() and any(character in odd for character in text)


def values(field: str) -> st.SearchStrategy[Any]:
    schema = SCALARS[field]
    edges = [*schema.get("enum", ()), schema.get("minimum"), schema.get("maximum")]
    numbers = [edge + step for edge in edges if isinstance(edge, int) for step in (-1, 0, 1)]
    long = ["x" * (schema["maxLength"] + step) for step in (0, 1)] if "maxLength" in schema else []
    return st.one_of(JSON, fitting(schema), st.sampled_from([*edges, *numbers, *long]))


@pytest.mark.parametrize("field", EXACT)
@settings(max_examples=50)
@given(data=st.data())
def test_a_field_is_taken_exactly_when_the_schema_has_it(field: str, data: st.DataObject) -> None:
    value = data.draw(values(field))
    # JSON Schema calls 1.0 an integer; the images API does not.
    assume(not (isinstance(value, float) and value == math.floor(value)))
    assume(not (isinstance(value, str) and is_blank_to_some(value)))
    request = {"prompt": "a lighthouse", **NEEDED.get(field, {}), field: value}

    assert fits("GenerateRequest", request) == (not refusals(request, "generate")), request


@pytest.mark.parametrize("field", ["size", "callback_url", "metadata"])
@settings(max_examples=50)
@given(data=st.data())
def test_what_is_taken_of_the_other_fields_the_schema_has_too(field: str, data: st.DataObject) -> None:
    sizes = st.builds("{}x{}".format, st.integers(0, 5_000).map(lambda n: n // 16 * 16), st.integers(0, 5_000))
    request = {"prompt": "a lighthouse", field: data.draw(values(field) | sizes)}

    assert fits("GenerateRequest", request) or refusals(request, "generate"), request


LEFT_TO_THE_MODEL = {"size", "background", "quality", "input_fidelity", "output_compression", "moderation"}
LEFT_TO_THE_STREAM = {"partial_images", "response_format"}
"""The one comes in a stream only, the other not as links in one."""
LEFT_TO_THE_FIELD = {"callback_url", "metadata", "prompt"}
"""A URL's ports, 6 KB in all, the sentence that `style` adds."""
LEFT_TO_THE_EDIT = {"image", "images", "mask", "boxes", "preserve", "output_format", "stream"}
"""One of two names, a mask or boxes, and what does not go with keeping pixels."""


@pytest.mark.parametrize(("name", "kind"), [("GenerateRequest", "generate"), ("JobRequest", None)])
@settings(max_examples=60)
@given(data=st.data())
def test_a_request_of_the_schema_is_refused_for_how_fields_go_together_at_most(
    name: str, kind: str | None, data: st.DataObject
) -> None:
    left = LEFT_TO_THE_MODEL | LEFT_TO_THE_FIELD | LEFT_TO_THE_STREAM | (LEFT_TO_THE_EDIT if kind is None else set())
    request = data.draw(fitting({"$ref": f"#/components/schemas/{name}"}))
    assume(fits(name, request))

    for error in refusals(request, kind):
        assert (error.param or "").replace("[", ".").split(".")[0] in left, error


@given(name=WORDS.filter(lambda name: name not in SCALARS), value=JSON.filter(lambda value: value is not None))
def test_a_field_the_schema_does_not_have_is_refused(name: str, value: Any) -> None:
    request = {"prompt": "a lighthouse", name: value}

    assert not fits("GenerateRequest", request)
    assert refusals(request, "generate")


@given(value=st.dictionaries(WORDS, WORDS, max_size=18) | JSON)
def test_metadata_is_taken_exactly_when_the_schema_has_it_but_for_its_size_in_all(value: Any) -> None:
    try:
        check_metadata(value)
    except DarkroomError as error:
        taken = "percent-encoded" in error.message
    else:
        taken = True

    assert fits("Metadata", value) == taken


NUMBER = st.integers(-2, 3_000) | st.floats(-0.5, 1.5) | st.floats(allow_nan=False, allow_infinity=False) | JSON
BOX = st.fixed_dictionaries({"x": NUMBER, "y": NUMBER, "width": NUMBER, "height": NUMBER}) | JSON


@settings(max_examples=60)
@given(box=BOX)
def test_a_box_that_is_taken_fits_the_schema(box: Any) -> None:
    try:
        parse_boxes([box])
    except DarkroomError:
        return
    assert fits("Box", box)


@given(box=fitting({"$ref": "#/components/schemas/Box"}))
def test_a_box_of_the_schema_is_refused_for_where_it_lies_at_most(box: Any) -> None:
    try:
        parse_boxes([box])
    except DarkroomError as error:
        message = error.message
    else:
        message = "a whole number"

    assert any(word in message for word in ("whole number", "reaches out", "behind the edge"))


SOURCE = st.fixed_dictionaries(
    {},
    optional={
        "blob": st.sampled_from(["uploads/a.png", "a/b", "uploads/", "up--loads/a", "uploads/a/../b", "uploads/a%b"])
        | WORDS,
        "data": WORDS | st.binary(min_size=3).map(lambda data: data.hex()),
        "url": st.sampled_from(["https://a.example/x?y=1", "http://a.example", "https://a@b", "HTTPS://a.example/x"])
        | WORDS,
    },
)


@settings(max_examples=60)
@given(source=SOURCE | JSON)
def test_a_source_that_is_taken_fits_the_schema(source: Any) -> None:
    try:
        sources.source_of("image", source)
    except DarkroomError:
        return
    if isinstance(source, dict):  # null is left out there as everywhere
        source = {name: value for name, value in source.items() if value is not None}
    assert fits("Source", source)


FILES = st.sampled_from(["image.png", "mask.PNG", "request.json", "a.json", ".png", "a.webp ", "a/b.png", "ä b.jpeg"])
NAMES = st.lists(FILES | WORDS.map(lambda word: f"{word}.png") | WORDS, max_size=20)


@settings(max_examples=60)
@given(body=st.fixed_dictionaries({"files": NAMES | JSON}) | JSON)
def test_names_of_files_are_taken_exactly_when_the_schema_has_them(body: Any) -> None:
    try:
        upload_links._names(body)
    except DarkroomError:
        taken = False
    else:
        taken = True

    assert fits("UploadRequest", body) == taken, body


def test_the_limits_are_those_of_the_validators() -> None:
    assert (described.MAX_IMAGES, described.MAX_N) == (16, 10)
    assert SCALARS["prompt"]["maxLength"] == 4_000
    assert SCALARS["quality"]["enum"] == ["low", "medium", "high", "auto", "xhigh", "max", "hd", "standard", None]
