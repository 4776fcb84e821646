"""The model server's list of calls against the ledger: each call finds its row, each row its call. Pure.

A call names no job, but its prompt names the order, and the calls of one order come one after another. So a call
belongs to the last row of its order that was begun before it; where the row knows the service's request id, that has to
be the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import moment
from tests.chaos.orders import tag_of

type Row = dict[str, Any]
type Call = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the ledger and the call it accounts for; either may be missing."""

    row: Row | None
    call: Call | None

    @property
    def outcome(self) -> str:
        return str(self.row["outcome"]) if self.row else "no row"

    @property
    def seen(self) -> str:
        """What the model server saw of the call."""
        if self.call is None:
            return "no call"
        if self.refused:
            return f"refused with {self.call['status']}"
        return f"{self.call['outcome']}, {'paid' if self.call['billed'] else 'not paid'}"

    @property
    def refused(self) -> bool:
        """Whether the service refused: its status says so, even if the connection was cut in the text behind it."""
        if self.call is None or self.call["billed"]:
            return False
        cut_behind_its_status = self.call["outcome"] == "cut" and (self.call["status"] or 0) >= 400
        return cut_behind_its_status or self.call["outcome"] == "refused"

    @property
    def paid(self) -> bool:
        return self.call is not None and bool(self.call["billed"])

    @property
    def may_be_paid_again(self) -> bool:
        """Whether what happened to this call lets its job be called once more (`RETRY_UNKNOWN_OUTCOME=crash`)."""
        return self.row is not None and (self.outcome, self.row.get("error_code")) == ("unknown", "runner_died")

    def __str__(self) -> str:
        row = (
            f"{self.row['RowKey']} {self.outcome} {self.row.get('error_code') or ''}".strip() if self.row else "no row"
        )
        call = f"call {self.call['sequence']} {self.seen}" if self.call else "no call"
        return f"{row} / {call}"


def pair_all(rows_of: Mapping[str, Sequence[Row]], calls: Sequence[Call]) -> tuple[dict[str, list[Pair]], list[Call]]:
    """The rows and calls of each order (by tag) in the order of time, and the calls that are no order's.

    A call that broke off before its prompt had come is given to the row that was begun last before it and has no call.
    """
    calls_of: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: float(call["time"])):
        calls_of[tag_of(str(call["parameters"].get("prompt", ""))) or ""].append(call)
    pairs_of = {tag: _pair(rows, calls_of.pop(tag, [])) for tag, rows in rows_of.items()}
    strays = []
    for call in [call for left in calls_of.values() for call in left]:
        place = None if call["parameters"] or call["billed"] else _without_call(pairs_of, before=call["time"])
        if place is None:
            strays.append(call)
        else:
            tag, number = place
            pairs_of[tag][number] = Pair(pairs_of[tag][number].row, call)
    return pairs_of, strays


def _pair(rows: Sequence[Row], calls: Sequence[Call]) -> list[Pair]:
    rows = sorted(rows, key=_begun)
    begun = [_begun(row) for row in rows]
    found: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        found[bisect_right(begun, call["time"]) - 1].append(call)
    pairs = [Pair(None, call) for call in found[-1]]
    for place, row in enumerate(rows):
        own = found[place]
        pairs += [Pair(row, own[0] if own else None), *(Pair(None, call) for call in own[1:])]
    return pairs


def _without_call(pairs_of: Mapping[str, Sequence[Pair]], *, before: float) -> tuple[str, int] | None:
    places = [
        (_begun(pair.row), tag, number)
        for tag, pairs in pairs_of.items()
        for number, pair in enumerate(pairs)
        if pair.row is not None and pair.call is None and _begun(pair.row) <= before
    ]
    return max(places)[1:] if places else None


def _begun(row: Row) -> float:
    return moment(row["started_at"])


def wrong(pair: Pair) -> str | None:
    """Why a pair cannot stand, None when it can."""
    row, call = pair.row, pair.call
    if row is None:
        return "a call without a row of the ledger"
    reason = None
    match pair.outcome:
        case "started":
            reason = "a call whose outcome nobody wrote down"
        case "billed" if call is None or not call["billed"]:
            reason = "the ledger says billed, the service was not paid"
        case "billed" if call is not None and row.get("request_id") != call["request_id"]:
            reason = "the ledger names another call of the service"
        case "refused" if not pair.refused:
            reason = "the ledger says refused, the service did not refuse"
        case "unknown" if not pair.may_be_paid_again and (
            call is None or (call["outcome"] == "ok" and not call["fault"])
        ):
            reason = "the ledger says unknown, though the call was answered well or never made"
        case "void" if call is not None and (call["billed"] or call["outcome"] != "left"):
            reason = "the ledger says nothing left, the service was called"
    return reason
