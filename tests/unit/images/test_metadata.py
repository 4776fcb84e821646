"""The caller's pairs: any script survives a blob's ASCII metadata, or is refused before anything is paid for."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.metadata import check_metadata, decode_metadata, encode_metadata
from tests.unit.images.outcomes import outcome

PAIRS = st.dictionaries(st.text(min_size=1, max_size=64), st.text(max_size=512), max_size=16)


@given(PAIRS)
def test_whatever_is_accepted_survives_a_header_of_a_blob(pairs: dict[str, str]):
    accepted = outcome(check_metadata, pairs)
    if isinstance(accepted, DarkroomError):
        assert accepted.param == "metadata"
        assert len(encode_metadata(pairs)) > 6_144
        return
    encoded = encode_metadata(accepted)
    assert re.fullmatch(r"[A-Za-z0-9%._~-]+", encoded)
    assert len(encoded) <= 6_144
    assert decode_metadata(encoded) == pairs


@pytest.mark.parametrize(
    "pairs",
    [
        {},
        {"заказ": "№ 7"},
        {"\N{BIRD}": "\N{BIRD}\n\r\t\x00"},
        {" ": "", "a.b[c]": "%7B"},
        {"ключ": "اللون"},
        {"__proto__": '"\\'},
    ],
)
def test_odd_keys_and_scripts_are_accepted(pairs: dict[str, str]):
    assert decode_metadata(encode_metadata(check_metadata(pairs))) == pairs


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ([], "metadata"),
        ({f"k{number}": "" for number in range(17)}, "metadata"),
        ({"": "x"}, "metadata."),
        ({"k" * 65: "x"}, "metadata." + "k" * 64 + "…"),
        ({"size": 5}, "metadata.size"),
        ({"nested": {"a": "b"}}, "metadata.nested"),
        ({"none": None}, "metadata.none"),
        ({"long": "x" * 513}, "metadata.long"),
        ({"half": "\ud83d"}, "metadata.half"),
        ({"\ud83d": "half"}, "metadata.?"),
        ({f"k{number}": "ж" * 400 for number in range(3)}, "metadata"),
        ({5: "x"}, "metadata"),
    ],
)
def test_pairs_that_cannot_be_carried_are_refused_by_key(value: Any, param: str):
    with pytest.raises(DarkroomError) as caught:
        check_metadata(value)
    assert caught.value.param == param


def test_a_refused_value_is_not_repeated():
    with pytest.raises(DarkroomError) as caught:
        check_metadata({"key": "s3cret" * 100})
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("encoded", ["", "%5B%5D", "%7B%22a%22%3A1%7D", "{", "%FF"])
def test_what_we_did_not_write_is_not_read(encoded: str):
    with pytest.raises(ValueError, match=r"."):
        decode_metadata(encoded)
