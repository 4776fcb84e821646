"""NCRONTAB and time spans."""

from datetime import UTC, datetime

import pytest

from local.host.schedules import parse_schedule

NOW = datetime(2026, 11, 22, 12, 34, 56, 500, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("* * * * * *", "2026-11-22T12:34:57"),
        ("*/10 * * * * *", "2026-11-22T12:35:00"),
        ("0 */5 * * * *", "2026-11-22T12:35:00"),
        ("30 15,45 * * * *", "2026-11-22T12:45:30"),
        ("0 0 9-17/4 * * *", "2026-11-22T13:00:00"),
        ("0 40/5 * * * *", "2026-11-22T12:40:00"),
        ("0 0 0 * * Mon-Fri", "2026-11-23T00:00:00"),
        ("0 0 0 * jan,Mar *", "2027-01-01T00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 0 13 * 5", "2027-08-13T00:00:00"),
        ("0 12 * * *", "2026-11-23T12:00:00"),
        ("5 * * * *", "2026-11-22T13:05:00"),
        ("0 34 12 * * *", "2026-11-23T12:34:00"),
    ],
)
def test_crontab_is_next_due(schedule: str, due: str) -> None:
    assert parse_schedule(schedule).next_after(NOW) == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize(("schedule", "seconds"), [("00:05:00", 300), ("1.00:00:00", 86_400), ("00:00:01.5", 1.5)])
def test_time_span_is_due_after_that_time(schedule: str, seconds: float) -> None:
    assert (parse_schedule(schedule).next_after(NOW) - NOW).total_seconds() == seconds


def test_more_than_23_hours_are_days_as_dot_net_has_it() -> None:
    assert (parse_schedule("24:00:00").next_after(NOW) - NOW).days == 24


@pytest.mark.parametrize(
    "schedule",
    ["", "* * *", "60 * * * * *", "* * * 0 * *", "* * * * * 7", "0 0 0 30 2 *", "*/0 * * * * *", "5-1 * * * * *"],
)
def test_a_schedule_that_cannot_be_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_schedule(schedule)


@pytest.mark.parametrize("schedule", ["a * * * * *", "* * * * foo *", "00:00:00"])
def test_a_schedule_of_unknown_words_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_schedule(schedule)
