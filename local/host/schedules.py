"""When a timer is due: NCRONTAB expressions and time spans.

`timers.py` parses a trigger's `schedule` here. NCRONTAB has six fields (second, minute, hour, day of month, month, day
of week; with five the second is 0), each `*`, a number, a name, a range, a step or a list of these. A day must fit both
its fields, unlike cron (https://github.com/atifaziz/NCrontab, wiki "Crontab Expression"). All times are UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from local.host.settings import parse_time_span

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_YEARS_AHEAD = 9  # 29 February may be eight years off


class Schedule(Protocol):
    """Knows when a timer is due next."""

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment` (aware, UTC)."""


@dataclass(frozen=True)
class EverySoOften:
    """A fixed interval."""

    interval: timedelta

    def next_after(self, moment: datetime) -> datetime:
        """The moment plus the interval."""
        return moment + self.interval


@dataclass(frozen=True)
class Crontab:
    """An NCRONTAB expression, as the values that each field allows."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """The first fitting second after `moment`. Raises ValueError when there is none (30 February)."""
        earliest = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = earliest.replace(hour=0, minute=0, second=0)
        while day.year <= moment.year + _YEARS_AHEAD:
            if day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays:
                time = self._time_of_day(earliest if day.date() == earliest.date() else day)
                if time is not None:
                    return day + time
            day += timedelta(days=1)
        raise ValueError("the schedule never comes due")

    def _time_of_day(self, earliest: datetime) -> timedelta | None:
        for hour in (hour for hour in self.hours if hour >= earliest.hour):
            for minute in self.minutes:
                for second in self.seconds:
                    if (hour, minute, second) >= (earliest.hour, earliest.minute, earliest.second):
                        return timedelta(hours=hour, minutes=minute, seconds=second)
        return None


def parse_schedule(text: str) -> Schedule:
    """Read a timer's `schedule`: NCRONTAB or `hh:mm:ss`. Raises ValueError."""
    if re.fullmatch(r"[\d.:]+", text.strip()):
        seconds = parse_time_span(text)
        if seconds <= 0:
            raise ValueError(f"'{text}' is no interval")
        return EverySoOften(timedelta(seconds=seconds))
    fields = text.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ValueError(f"'{text}' is neither a time span nor an NCRONTAB expression of six fields")
    crontab = Crontab(
        seconds=_field(fields[0], 0, 59),
        minutes=_field(fields[1], 0, 59),
        hours=_field(fields[2], 0, 23),
        days=frozenset(_field(fields[3], 1, 31)),
        months=frozenset(_field(fields[4], 1, 12, _MONTHS)),
        weekdays=frozenset(_field(fields[5], 0, 6, _DAYS)),
    )
    crontab.next_after(datetime.now(UTC))
    return crontab


def _field(text: str, lowest: int, highest: int, names: tuple[str, ...] = ()) -> tuple[int, ...]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        start = lowest if span == "*" else _value(first, lowest, names)
        end = _value(last, lowest, names) if dash else start
        if span == "*" or (slash and not dash):
            end = highest
        stride = int(step) if slash else 1
        if not lowest <= start <= end <= highest or stride < 1:
            raise ValueError(f"'{part}' does not fit between {lowest} and {highest}")
        values.update(range(start, end + 1, stride))
    return tuple(sorted(values))


def _value(text: str, lowest: int, names: tuple[str, ...]) -> int:
    """A number, or a name of at least three letters."""
    if names and len(text) >= 3 and text[:3].lower() in names:
        return names.index(text[:3].lower()) + lowest
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not a value of a schedule")
    return int(text)
