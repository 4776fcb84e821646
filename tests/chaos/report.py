"""The account as a table that a person can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.audit import Account
from tests.chaos.faults import Done
from tests.support.gate import Fate, Gate

_MOST_SHOWN = 20


def lines(account: Account, done: Done, gate: Gate) -> Iterator[str]:
    yield from _faults(done, gate)
    yield ""
    yield "What became of the orders, by door"
    yield from _table(account.orders)
    if account.failures:
        yield f"  failed because of: {_counts(account.failures)}"
    if account.renewed:
        yield f"  orders whose first job ended without a call and whose repeat made another: {account.renewed}"
    yield ""
    yield "The model server's calls, one by one, against the ledger"
    yield from _table(account.calls)
    yield f"  paid calls of a job that succeeded: {_counts({f'{n} paid': k for n, k in sorted(account.paid.items())})}"
    yield f"  paid calls whose answer never arrived whole: {account.paid_for_nothing}"
    yield f"  answers that passed to their callers and whose runner was killed storing them: {account.passed_only}"
    yield f"  second payments, each after a runner that was killed in the first call: {len(account.paid_again)}"
    yield from (f"    {story}" for story in account.paid_again)
    yield ""
    yield f"Images stored {account.images}, each with the model's sha256; sidecars {account.sidecars}"
    yield f"Events: {account.events} ids, {account.events_sent} deliveries"
    yield f"Images of attempts that were killed, beside those of their job: {len(account.unlisted)}"
    yield f"Images and files of which a killed process had staged only pieces: {account.staged}"
    yield f"Folders of requests that were never accepted, which the app removes later: {len(account.never_accepted)}"
    yield from _some(account.never_accepted)
    yield ""
    yield f"Violations: {len(account.violations)}"
    yield from (f"  {violation}" for violation in account.violations)


def _faults(done: Done, gate: Gate) -> Iterator[str]:
    yield "What was done to it"
    yield f"  workers killed: {len(done.killed)}; messages sent again: {len(done.repeated)}"
    yield f"  model server, faults offered: {_counts(done.model)}"
    yield f"  topic, faults offered: {_counts(done.topic)}"
    yield f"  blob events: {_counts(done.announced)}"
    table = {fate.value: count for fate, count in gate.fates.items() if fate is not Fate.PASS}
    yield f"  table, of {gate.fates.total()} requests: {_counts(table)}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1])) or "none"


def _table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """Rows by the first of each pair, columns by the second, with sums."""
    rows = sorted({row for row, _ in counts})
    columns = sorted({column for _, column in counts})
    width = max(len(name) for name in (*rows, "all")) + 2
    wide = [max(len(column), 5) + 2 for column in columns]
    yield "  " + " " * width + "".join(f"{name:>{size}}" for name, size in zip(columns, wide, strict=True)) + "    all"
    for row in [*rows, "all"]:
        numbers = [sum(n for (r, c), n in counts.items() if c == column and row in (r, "all")) for column in columns]
        cells = "".join(f"{number or '·':>{size}}" for number, size in zip(numbers, wide, strict=True))
        yield f"  {row:<{width}}{cells}{sum(numbers):>7}"


def _some(entries: Sequence[str]) -> Iterator[str]:
    yield from (f"    {entry}" for entry in entries[:_MOST_SHOWN])
    if len(entries) > _MOST_SHOWN:
        yield f"    and {len(entries) - _MOST_SHOWN} more"
