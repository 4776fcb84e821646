"""What was used and what it cost, over days, from the rows of the ledger: summed as they come, never all in memory.

Money is added within its currency only. A principal without `Darkroom.Admin` is shown its own calls.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.errors import DarkroomError
from shared.images.pricing import plain
from shared.jobs.ledger import Outcome
from shared.jobs.rows import Row
from shared.pipeline.rooms import Rooms, rooms
from shared.platform.principals import Caller
from shared.settings import settings

MOST_DAYS = 92
MOST_GROUPS = 5_000
_COLUMNS = {"model": "model", "deployment": "deployment", "owner": "owner", "status": "outcome"}
GROUPINGS = ("day", *_COLUMNS)
_DAYS_AT_ONCE = 4
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


async def usage(
    caller: Caller, *, since: str | None = None, until: str | None = None, group_by: str | None = None
) -> dict[str, Any]:
    """The caller's usage from the texts of a query: of the UTC days `since` to `until`, both included.

    Raises `invalid_value` naming the parameter (`from`, `to`, `group_by`).
    """
    days = _days(since, until, today=datetime.now(UTC).date())
    if group_by is not None and group_by not in GROUPINGS:
        raise _invalid("group_by", f"'group_by' must be one of {', '.join(GROUPINGS)}.")
    ledger = _Summed(await rooms(), None if caller.sees_all else caller.owner, group_by)
    await ledger.read(days)
    kept_from = await ledger.room.expiry.ledger_from()
    return {
        "from": days[0].isoformat(),
        "to": days[-1].isoformat(),
        "kept_from": None if kept_from is None else kept_from.isoformat(),
        "total": ledger.total.to_dict(),
        "group_by": group_by,
        "groups": [
            {"key": key, **ledger.groups[key].to_dict()}
            for key in sorted(ledger.groups, key=lambda key: (key is None, key or ""))
        ],
    }


@dataclass(slots=True)
class Sums:
    """Of some calls. `money` is by currency: what was billed, and what may have been beside it."""

    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    images: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TOKENS, 0))
    money: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    unpriced: int = 0
    """Calls that were billed, or may have been, and whose amount is not known."""

    def add(self, row: Row) -> None:
        outcome = Outcome(row["outcome"])
        self.calls[outcome] += 1
        self.images += row.get("images") or 0
        for name in _TOKENS:
            self.tokens[name] += row.get(name) or 0
        amount, possibly = row.get("amount"), row.get("possibly_billed")
        if amount is not None or possibly is not None:
            billed, maybe = self.money.get(row["currency"], (Decimal(), Decimal()))
            self.money[row["currency"]] = (billed + Decimal(amount or 0), maybe + Decimal(possibly or 0))
        elif outcome in (Outcome.BILLED, Outcome.UNKNOWN):
            self.unpriced += 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "calls": {str(outcome): count for outcome, count in self.calls.items()},
            "images": self.images,
            "usage": dict(self.tokens),
            "costs": [
                {"currency": currency, "amount": plain(billed), "possibly_billed": plain(maybe)}
                for currency, (billed, maybe) in sorted(self.money.items())
            ],
            "unpriced_calls": self.unpriced,
        }


@dataclass(slots=True)
class _Summed:
    """The ledger's days, summed as they are read."""

    room: Rooms
    owner: str | None
    group_by: str | None
    total: Sums = field(default_factory=Sums)
    groups: dict[str | None, Sums] = field(default_factory=dict)

    async def read(self, days: Sequence[date]) -> None:
        seconds = settings().sync_budget_seconds
        turn = asyncio.Semaphore(_DAYS_AT_ONCE)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for day in days:
                    group.create_task(self._read_day(day, turn))
        except TimeoutError:
            raise _invalid(
                "from", f"These days have more calls than can be read in {seconds:.0f} s; ask for fewer days at once."
            ) from None
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _read_day(self, day: date, turn: asyncio.Semaphore) -> None:
        async with turn:
            async for row in self.room.ledger.of_day(day, owner=self.owner):
                self.total.add(row)
                if self.group_by is not None:
                    self._group(day, row).add(row)

    def _group(self, day: date, row: Mapping[str, Any]) -> Sums:
        key = day.isoformat() if self.group_by == "day" else row.get(_COLUMNS[str(self.group_by)])
        if key not in self.groups and len(self.groups) == MOST_GROUPS:
            raise _invalid(
                "group_by", f"There are more than {MOST_GROUPS} different {self.group_by}s; ask for fewer days at once."
            )
        return self.groups.setdefault(key, Sums())


def _days(since: str | None, until: str | None, *, today: date) -> list[date]:
    """Every day asked for. Without `until` up to today, without `since` from the first of that month."""
    last = today if until is None else _date("to", until)
    first = last.replace(day=1) if since is None else _date("from", since)
    count = (last - first).days + 1
    if count < 1:
        raise _invalid("from", f"'from' ({first}) is after 'to' ({last}).")
    if count > MOST_DAYS:
        raise _invalid("from", f"'from' and 'to' lie {count} days apart; ask for at most {MOST_DAYS} at once.")
    return [first + timedelta(days=number) for number in range(count)]


def _date(name: str, text: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise _invalid(name, f"'{name}' must be a day (UTC), such as 2026-11-22.") from None


def _invalid(param: str, message: str) -> DarkroomError:
    return DarkroomError("invalid_value", message, param=param)
