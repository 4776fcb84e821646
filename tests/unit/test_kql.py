"""The language that queries are tried in refuses what Azure would refuse."""

from __future__ import annotations

import pytest

from tests.support import kql

TABLES = {"AppTraces": [{"Message": "job a ended: failed (expired)"}, {"Message": "job b ended: succeeded"}]}


def test_a_query_groups_what_it_parsed() -> None:
    query = """
    // Counted by state.
    AppTraces
    | where Message startswith 'JOB ' and Message has ' ended: '
    | parse Message with * ' ended: ' Status
    | extend Status = tostring(split(Status, ' ')[0])
    | summarize Jobs = count(), Twice = 2 * count() by Status
    | order by Status asc
    """

    assert kql.run(query, TABLES) == [
        {"Status": "failed", "Jobs": 1, "Twice": 2.0},
        {"Status": "succeeded", "Jobs": 1, "Twice": 2.0},
    ]


def test_terms_are_whole_words() -> None:
    assert len(kql.run("AppTraces | where Message has 'end'", TABLES)) == 0
    assert len(kql.run("AppTraces | where Message has 'ended'", TABLES)) == 2


@pytest.mark.parametrize(
    "text", ["where Mesage == 'x'", "summarize count() by Colour", "frobnicate x", "extend A = b(1)"]
)
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        kql.run(f"AppTraces | {text}", TABLES)
