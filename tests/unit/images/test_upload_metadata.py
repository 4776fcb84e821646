"""Requests in the metadata of a blob: header text, read into the types of a JSON body."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.metadata import encode_metadata
from shared.images.upload_metadata import asks, parse_blob_metadata


@given(st.text(min_size=1))
def test_a_prompt_of_any_script_comes_through_both_ways_of_writing_it(prompt: str) -> None:
    written = base64.b64encode(prompt.encode()).decode()

    assert parse_blob_metadata({"prompt": quote(prompt, safe="")})["prompt"] == prompt
    assert parse_blob_metadata({"prompt_base64": written})["prompt"] == prompt


def test_values_are_read_as_a_form_is() -> None:
    data = parse_blob_metadata(
        {
            "prompt": "100% cotton, folded",
            "n": "2",
            "output_compression": "80",
            "quality": "low",
            "preserve": "exact",
            "mask": "maske%20gr%C3%B6%C3%9Fe.png",
            "images": "one.png, two%2C%20three.png",
            "boxes": '[{"x": 0, "y": 0, "width": 0.5, "height": 1}]',
            "callback_url": "https://example.com/back?sig=a%2Bb",
            "darkroom_metadata": encode_metadata({"order": "größe"}),
            "size": "",
            "mtime": "1700000000",
            "hdi_isfolder": "true",
        }
    )

    assert data == {
        "prompt": "100% cotton, folded",
        "n": 2,
        "output_compression": 80,
        "quality": "low",
        "preserve": "exact",
        "mask": "maske größe.png",
        "images": ["one.png", "two, three.png"],
        "boxes": [{"x": 0, "y": 0, "width": 0.5, "height": 1}],
        "callback_url": "https://example.com/back?sig=a%2Bb",
        "metadata": {"order": "größe"},
    }


def test_file_names_may_be_a_json_array() -> None:
    assert parse_blob_metadata({"prompt": "x", "images": '["a,b.png", "c.png"]'})["images"] == ["a,b.png", "c.png"]


@pytest.mark.parametrize(
    ("metadata", "code", "param"),
    [
        ({"prompt": "%ff"}, "invalid_value", "prompt"),
        ({"prompt_base64": "no base64!"}, "invalid_value", "prompt_base64"),
        ({"prompt_base64": "/w=="}, "invalid_value", "prompt_base64"),
        ({"prompt": "x", "prompt_base64": "eA=="}, "invalid_value", "prompt_base64"),
        ({"prompt": "x", "n": "two"}, "invalid_type", "n"),
        ({"prompt": "x", "images": "[1"}, "invalid_value", "images"),
        ({"prompt": "x", "darkroom_metadata": "{"}, "invalid_value", "darkroom_metadata"),
        ({"prompt": "x", "darkroom_metadata": "%7B%22a%22%3A1%7D"}, "invalid_value", "darkroom_metadata"),
        ({"prompt": "x", "qualty": "low"}, "unknown_parameter", "qualty"),
        ({"prompt": "x", "output_formats": "png"}, "unknown_parameter", "output_formats"),
        ({"prmpt": "x"}, "unknown_parameter", "prmpt"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(metadata: dict[str, str], code: str, param: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        parse_blob_metadata(metadata)

    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "name", ["mtime", "hdi_isfolder", "customer", "order_id", "source_system", "createdby", "tags"]
)
def test_names_of_other_tools_are_left_alone(name: str) -> None:
    assert parse_blob_metadata({"prompt": "x", name: "y"}) == {"prompt": "x"}


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "prompt_base64", "images", "mask", "n", "boxes", "darkroom_metadata"]), st.text()
    )
)
def test_no_metadata_fails_in_another_way_than_by_naming_the_entry(metadata: dict[str, Any]) -> None:
    assert asks(metadata) == bool({"prompt", "prompt_base64"} & metadata.keys())
    try:
        named = set(parse_blob_metadata(metadata))
    except DarkroomError as error:
        named = {str(error.param)}

    assert named <= {"prompt", "prompt_base64", "images", "mask", "n", "boxes", "darkroom_metadata", "metadata"}
