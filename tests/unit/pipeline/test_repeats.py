"""What a POST says of being repeated, and which failures a repeat need not put up with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.job import Door, Status, new_job
from shared.pipeline.repeats import NOTHING, Asked, asked, came_to_nothing
from tests.unit.images.outcomes import outcome

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=256)


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(PRINTABLE)
def test_a_key_is_the_same_with_quotes_as_the_draft_has_it_and_without(key: str) -> None:
    assert asked({"idempotency-key": quoted(key)}) == Asked(key)
    if not key.startswith('"') and key == key.strip():
        assert asked({"idempotency-key": key}) == Asked(key)


@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_any_header_is_a_key_of_printable_characters_or_is_refused_by_its_name(header: str) -> None:
    found = outcome(asked, {"idempotency-key": header})
    if isinstance(found, DarkroomError):
        assert (found.code, found.param, found.status) == ("invalid_value", "Idempotency-Key", 400)
        return
    assert 1 <= len(found.key) <= 256
    assert found.key.isascii()
    assert found.key.isprintable()


@pytest.mark.parametrize("header", ["", " ", '""', "a" * 257, "a\tb", "\x7f", "caf\xe9", '"' + "a" * 257 + '"'])
def test_what_can_be_no_key_is_refused(header: str) -> None:
    with pytest.raises(DarkroomError, match="Idempotency-Key"):
        asked({"idempotency-key": header})


@pytest.mark.parametrize(
    ("header", "retry"), [("0", 0), ("1", 1), (" 2 ", 2), ("", None), ("-1", None), ("x", None), ("1.0", None)]
)
def test_the_count_of_an_sdk_is_read_leniently(header: str, retry: int | None) -> None:
    assert asked({"x-stainless-retry-count": header}) == Asked(None, retry)


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_no_count_is_refused(header: str) -> None:
    assert (asked({"x-stainless-retry-count": header}).retry or 0) >= 0


def test_a_request_without_such_headers_asks_for_nothing() -> None:
    assert asked({"content-type": "application/json"}) == NOTHING


@pytest.mark.parametrize(
    ("code", "changes", "expected"),
    [
        ("abandoned", {}, True),
        ("rate_limit_exceeded", {}, True),
        ("not_connected", {}, True),
        ("deployment_unavailable", {}, True),
        ("expired", {}, True),
        ("undeliverable", {}, True),
        ("outcome_unknown", {"attempts": 1}, False),
        ("service_error", {"attempts": 2}, False),
        ("deployment_unavailable", {"possibly_billed": "0.04"}, False),
        ("deployment_unavailable", {"possibly_billed": ""}, False),  # billed perhaps, by nobody knows how much
        ("invalid_image", {}, False),
    ],
)
def test_only_a_failure_that_passes_and_cost_nothing_gives_way(
    code: str, changes: dict[str, Any], expected: bool
) -> None:
    job = new_job(kind="generate", door=Door.JOBS, owner="key", now=datetime.now(UTC), runner="one")
    failed = job.moved(Status.FAILED, error=DarkroomError(code, "it failed").to_row(), **changes)
    assert came_to_nothing(failed) is expected
    assert not came_to_nothing(job)
    assert not came_to_nothing(job.moved(Status.CANCELED))
    assert not came_to_nothing(job.moved(Status.SUCCEEDED))
