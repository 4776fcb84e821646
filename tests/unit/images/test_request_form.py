"""Text fields of a form become what a JSON body would have said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.form import parse_form
from shared.images.request import parse
from tests.unit.images.outcomes import outcome


def test_numbers_booleans_and_json_are_read_from_text():
    fields = [
        ("prompt", "a heron"),
        ("n", "2"),
        ("output_compression", "80"),
        ("partial_images", "0"),
        ("stream", "false"),
        ("metadata", '{"order": "7"}'),
        ("size", "1024x1024"),
    ]
    assert parse_form(fields) == {
        "prompt": "a heron",
        "n": 2,
        "output_compression": 80,
        "partial_images": 0,
        "stream": False,
        "metadata": {"order": "7"},
        "size": "1024x1024",
    }


@pytest.mark.parametrize("name", ["image", "image[]", "images[]"])
def test_repeated_images_are_gathered_in_order(name: str):
    assert parse_form([(name, "AAAA"), (name, "BBBB")]) == {"image": ["AAAA", "BBBB"]}


def test_images_as_json_may_name_blobs():
    assert parse_form([("images", '[{"blob": "uploads/a.png"}]')]) == {"images": [{"blob": "uploads/a.png"}]}


def test_metadata_in_brackets_is_what_the_official_clients_send():
    assert parse_form([("metadata[a]", "1"), ("metadata[b c]", "")]) == {"metadata": {"a": "1", "b c": ""}}


def test_an_empty_field_counts_as_left_out():
    assert parse_form([("prompt", "a heron"), ("n", ""), ("mask", ""), ("user", "")]) == {"prompt": "a heron"}


@pytest.mark.parametrize("name", ["prompt", "n", "mask", "metadata", "metadata[a]", "seed"])
def test_a_field_given_twice_is_refused(name: str):
    with pytest.raises(DarkroomError) as caught:
        parse_form([(name, "1"), (name, "1")])
    assert (caught.value.code, caught.value.param) == ("invalid_value", name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", value) for value in ("two", "1.0", "0x1", "1" * 5_000, "١")),
        *(("stream", value) for value in ("1", "yes")),
        *(("metadata", value) for value in ("{", "[" * 100_000)),
    ],
)
def test_text_of_the_wrong_kind_is_refused(name: str, value: str):
    with pytest.raises(DarkroomError) as caught:
        parse_form([(name, value)])
    assert (caught.value.code, caught.value.param) == ("invalid_type", name)


NAMES = st.sampled_from(
    ["prompt", "n", "stream", "metadata", "metadata[a]", "image", "image[]", "images", "mask", "size"]
)


@given(st.lists(st.tuples(NAMES | st.text(max_size=4), st.text(max_size=12)), max_size=6))
def test_any_form_is_either_a_request_or_a_refusal_that_names_a_field(fields: list[tuple[str, str]]):
    def read() -> Any:
        return parse(parse_form(fields), kind="edit", deployments={"main": "gpt-image-1"})

    result = outcome(read)
    assert result.param is not None if isinstance(result, DarkroomError) else result.kind == "edit"
