"""What is read as JSON, and that all of it can be written again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.platform import strict_json

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Half surrogate pairs too: JSON can escape them."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_whatever_was_read_can_be_written_and_read_again(value: Any, indented: bool) -> None:
    read = strict_json.parse(json.dumps(value))
    written = strict_json.encode(read, indented=indented)

    assert strict_json.parse(written) == strict_json.encodable(read)


@given(VALUES)
def test_what_has_no_half_surrogate_pair_is_written_as_it_is(value: Any) -> None:
    whole = strict_json.encodable(value)

    assert strict_json.encodable(whole) == whole
    assert strict_json.parse(strict_json.encode(whole)) == whole


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert strict_json.encode({"a": "x\ud83d"}) == b'{"a":"x?"}'


def test_letters_are_written_as_they_are_and_lines_only_where_asked_for() -> None:
    assert strict_json.encode({"городской": ["é", 1]}) == '{"городской":["é",1]}'.encode()
    assert strict_json.encode({"a": 1}, indented=True) == b'{\n  "a": 1\n}'


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", '{"a":', "[" * 100_000, b"\xff"])
def test_what_the_standard_does_not_have_is_refused_by_what_it_is(text: str | bytes) -> None:
    with pytest.raises(DarkroomError) as caught:
        strict_json.parse(text, "The list")
    assert caught.value.code == "invalid_json"
    assert caught.value.message.startswith("The list is no valid JSON")
