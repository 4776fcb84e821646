"""Sums of calls are exact, add up over any grouping, and never add one currency to another."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.ledger import Outcome
from shared.pipeline.usage import MOST_DAYS, Sums, _days

MONEY = st.none() | st.decimals(0, 10_000, places=8).map(str)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "outcome": st.sampled_from([str(outcome) for outcome in Outcome]),
            "images": st.none() | st.integers(0, 10),
            "input_tokens": st.none() | st.integers(0, 2**31 - 1),
            "output_tokens": st.integers(0, 2**31 - 1),
            "amount": MONEY,
            "possibly_billed": MONEY,
            "currency": st.sampled_from(["USD", "EUR", "JPY"]),
        }
    ),
    max_size=30,
)
TODAY = date(2026, 11, 22)


def money(rows: list[dict[str, Any]]) -> dict[str, tuple[Fraction, Fraction]]:
    found: dict[str, tuple[Fraction, Fraction]] = {}
    for row in rows:
        if row["amount"] is not None or row["possibly_billed"] is not None:
            billed, maybe = found.get(row["currency"], (Fraction(), Fraction()))
            found[row["currency"]] = (
                billed + Fraction(row["amount"] or 0),
                maybe + Fraction(row["possibly_billed"] or 0),
            )
    return found


@given(ROWS)
def test_sums_are_exact(rows: list[dict[str, Any]]) -> None:
    sums = Sums()
    for row in rows:
        sums.add(row)
    shown = sums.to_dict()

    assert {
        one["currency"]: (Fraction(one["amount"]), Fraction(one["possibly_billed"])) for one in shown["costs"]
    } == money(rows)
    assert {name: count for name, count in shown["calls"].items() if count} == Counter(row["outcome"] for row in rows)
    assert shown["images"] == sum(row["images"] or 0 for row in rows)
    assert shown["usage"] == {
        "input_tokens": sum(row["input_tokens"] or 0 for row in rows),
        "output_tokens": sum(row["output_tokens"] for row in rows),
        "total_tokens": 0,
    }
    assert shown["unpriced_calls"] == sum(
        row["outcome"] in ("billed", "unknown") and row["amount"] is row["possibly_billed"] is None for row in rows
    )


def test_amounts_are_added_as_written_and_shown_without_zeros() -> None:
    sums = Sums()
    for amount in ("0.10", "0.20", "1E-7"):
        sums.add({"outcome": "billed", "amount": amount, "currency": "USD"})

    assert sums.to_dict()["costs"] == [{"currency": "USD", "amount": "0.3000001", "possibly_billed": "0"}]


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        (None, None, "2026-11-01", "2026-11-22"),
        ("2026-11-22", None, "2026-11-22", "2026-11-22"),
        (None, "2024-02-29", "2024-02-01", "2024-02-29"),
        ("2026-10-31", "2026-11-01", "2026-10-31", "2026-11-01"),
        ("2026-11-01", "2027-01-31", "2026-11-01", "2027-01-31"),
        ("0001-01-01", "0001-01-02", "0001-01-01", "0001-01-02"),
        ("9999-12-30", "9999-12-31", "9999-12-30", "9999-12-31"),
    ],
)
def test_days_are_those_asked_for_both_ends_included(
    since: str | None, until: str | None, first: str, last: str
) -> None:
    days = _days(since, until, today=TODAY)

    assert (days[0].isoformat(), days[-1].isoformat()) == (first, last)
    assert {later - earlier for earlier, later in pairwise(days)} <= {timedelta(days=1)}
    assert len(days) <= MOST_DAYS


@pytest.mark.parametrize(
    ("since", "until", "param"),
    [
        ("2026-11-23", None, "from"),
        ("2026-11-02", "2026-11-01", "from"),
        ("2026-08-22", "2026-11-22", "from"),
        *(
            (wrong, None, "from")
            for wrong in ("", "20261122", "2026-W47-7", "2026-02-29", "2026-11-22T00:00:00Z", "٢٠٢٦-11-22", "today")
        ),
        (None, "2026-13-01", "to"),
    ],
)
def test_a_wrong_range_is_refused_by_name(since: str | None, until: str | None, param: str) -> None:
    with pytest.raises(DarkroomError) as refused:
        _days(since, until, today=TODAY)

    assert (refused.value.code, refused.value.param) == ("invalid_value", param)
