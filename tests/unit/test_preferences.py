"""`Prefer: wait` as RFC 7240 writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.preferences import wait_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["wait=10"], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "WAIT = 10 ; strict"], 10),
        (['handling="a, wait=1", wait="10"'], 10),
        (["wait=10, wait=20"], 10),
        (["wait=0"], 0),
        ([], 0),
        (["respond-async"], 0),
        (["wait"], 0),
        (["wait=soon"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=soon, wait=10"], 0),
        (["waiting=10"], 0),
        (['foo="wait=10'], 0),
        (["wait=99999999999999999999"], 0),
        (["wait=\u0661"], 0),
    ],
)
def test_the_first_wait_counts_and_what_makes_no_sense_is_passed_over(headers: list[str], seconds: int) -> None:
    assert wait_seconds(headers) == seconds


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=40), max_size=4))
def test_no_header_is_too_odd_to_be_read(headers: list[str]) -> None:
    assert 0 <= wait_seconds(headers) < 10**9


@given(
    st.integers(0, 10**9 - 1),
    st.lists(st.sampled_from(["respond-async", "return=minimal", 'x="a, b"', "handling=lenient; p=1"]), max_size=3),
    st.sampled_from([", ", ",", " , ,"]),
)
def test_a_wait_is_found_among_others(seconds: int, others: list[str], comma: str) -> None:
    assert wait_seconds([comma.join([*others, f"wait={seconds}"])]) == seconds
