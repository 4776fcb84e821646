"""Usage is what the ledger says, to the last digit: real calls of every outcome, and thousands of rows at random."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from functions import money, web
from shared.jobs.job import Door, new_id, new_job, new_runner
from shared.jobs.ledger import Ledger, Outcome
from shared.pipeline import retention, usage
from shared.pipeline.rooms import rooms
from shared.platform import clients
from shared.platform.principals import Caller
from shared.settings import settings
from tests.support import table_rows
from tests.support.app_in_process import CALLER, App, use_settings
from tests.support.doors import call
from tests.support.table_recorder import recording

ALICE = Caller("alice", sees_all=False)
FIRST = date(2026, 1, 30)
YESTERDAY = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
COUNTS = ("input_tokens", "output_tokens", "total_tokens")


async def asked(**query: str) -> dict[str, Any]:
    """What `GET /api/usage` answers a holder of a key."""
    answer = await call(money.get_usage, method="GET", query=query)
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert answer.status_code == 200, body
    return body


async def refused(**query: str) -> tuple[str, str]:
    """Code and `param` of the error."""
    answer = await call(money.get_usage, method="GET", query=query)
    assert answer.status_code == 400
    error = json.loads(bytes(answer.body))["error"]
    return error["code"], error["param"]


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of ledger rows, made in another way than the app's."""
    costs: dict[str, dict[str, Fraction]] = {}
    for row in rows:
        for name in ("amount", "possibly_billed"):
            if name in row:
                cost = costs.setdefault(row["currency"], {"amount": Fraction(), "possibly_billed": Fraction()})
                cost[name] += Fraction(row[name])
    return {
        "calls": {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in map(str, Outcome)},
        "images": sum(row.get("images", 0) for row in rows),
        "usage": {name: sum(row.get(name, 0) for row in rows) for name in COUNTS},
        "costs": costs,
        "unpriced_calls": sum(
            row["outcome"] in ("billed", "unknown") and "amount" not in row and "possibly_billed" not in row
            for row in rows
        ),
    }


def exact(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Sums of an answer, money as fractions."""
    members = {name: value for name, value in sums.items() if name in ("calls", "images", "usage", "unpriced_calls")}
    costs = {
        one["currency"]: {name: Fraction(one[name]) for name in ("amount", "possibly_billed")} for one in sums["costs"]
    }
    return {**members, "costs": costs}


def random_rows(day: date, count: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Ledger rows of one day as the app writes them, of every outcome and several owners, models and currencies."""
    for number in range(count):
        outcome = chance.choice([str(one) for one in Outcome])
        began = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=number)
        row: dict[str, Any] = {
            "PartitionKey": day.strftime("%Y%m%d"),
            "RowKey": f"{new_id(began)}-{chance.randint(1, 12)}",
            "outcome": outcome,
            "owner": chance.choice(["key", "alice", "bob", "o'neill"]),
            "deployment": chance.choice(["west", "east"]),
        }
        if chance.random() < 0.9:
            row["model"] = chance.choice(["gpt-image-1", "gpt-image-1-mini"])
        if outcome == "billed":
            row |= {"images": chance.randint(1, 10)} | {name: chance.randint(0, 10**6) for name in COUNTS}
        member = {"billed": "amount", "unknown": "possibly_billed"}.get(outcome)
        if member and chance.random() < 0.9:
            row |= {member: f"{chance.randint(0, 10**7)}E-{chance.randint(0, 9)}"}
            row["currency"] = chance.choice(["USD", "EUR"])
        yield row


async def test_the_usage_of_real_calls_is_what_they_were_billed(app: App) -> None:
    app.model.fail({"name": "moderation_blocked"}, {"name": "rate_limited", "retry_after_seconds": 0.01})
    await app.run()
    documents = [await app.document((await app.run(n=n)).id) for n in (1, 2)]
    app.model.fail({"cut_before_response": True})
    unknown = await app.document((await app.run()).id)
    rows = app.storage.rows("ledger")

    answer = await asked(**{"from": YESTERDAY, "group_by": "status"})

    assert Counter(row["outcome"] for row in rows) == {"billed": 2, "refused": 2, "unknown": 1}
    assert exact(answer["total"]) == summed(rows)
    [cost] = answer["total"]["costs"]
    assert Fraction(cost["amount"]) == sum(Fraction(one["cost"]["amount"]) for one in documents)
    assert cost["possibly_billed"] == unknown["cost"]["possibly_billed"]
    assert answer["total"]["images"] == 3
    for name in COUNTS:
        assert answer["total"]["usage"][name] == sum(one["usage"][name] for one in documents)
    assert [group["key"] for group in answer["groups"]] == ["billed", "refused", "unknown"]


@pytest.mark.parametrize("seed", range(3))
async def test_any_mix_of_calls_is_summed_exactly_by_every_grouping(app: App, seed: int) -> None:
    chance = random.Random(seed)
    written: dict[date, list[dict[str, Any]]] = {}
    for number, count in enumerate((1_100, 0, 7, 251)):  # several pages, none, few, a page and one
        day = FIRST + timedelta(days=number)
        written[day] = [*random_rows(day, count, chance)]
        table_rows.insert(settings().table_service_uri, "ledger", written[day])
    within = [row for day in sorted(written)[:3] for row in written[day]]
    asked_for = {"from": FIRST.isoformat(), "to": (FIRST + timedelta(days=2)).isoformat()}

    for name in usage.GROUPINGS:
        answer = await asked(**asked_for, group_by=name)
        assert exact(answer["total"]) == summed(within)
        column = {"day": "PartitionKey", "status": "outcome"}.get(name, name)
        keys = [group["key"] for group in answer["groups"]]
        assert keys == sorted(set(keys), key=lambda key: (key is None, key or ""))
        for group in answer["groups"]:
            key = group["key"].replace("-", "") if name == "day" else group["key"]
            assert exact(group) == summed([row for row in within if row.get(column) == key]), (name, key)
        assert sum(sum(group["calls"].values()) for group in answer["groups"]) == len(within)
    ungrouped = await asked(**asked_for)
    assert (ungrouped["groups"], ungrouped["group_by"]) == ([], None)
    assert exact(ungrouped["total"]) == summed(within)


async def test_a_call_belongs_to_the_utc_day_on_which_it_began(app: App) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    east = midnight.astimezone(datetime.strptime("+1400", "%z").tzinfo)
    for began in (midnight - timedelta(microseconds=1), midnight, east + timedelta(seconds=1)):
        job = new_job(kind="generate", door=Door.JOBS, owner="key", now=began, runner=new_runner())
        calling = job.moved(job.status, call_started_at=began, calls=1, deployment="west")
        await Ledger(clients.tables().get_table_client("ledger")).start(calling, model="gpt-image-1", facts={})

    answer = await asked(**{"from": "2026-02-28", "to": "2026-03-01", "group_by": "day"})

    assert [(group["key"], group["calls"]["started"]) for group in answer["groups"]] == [
        ("2026-02-28", 1),
        ("2026-03-01", 2),
    ]
    for day, count in (("2026-02-27", 0), ("2026-02-28", 1), ("2026-03-01", 2), ("2026-03-02", 0)):
        assert (await asked(**{"from": day, "to": day}))["total"]["calls"]["started"] == count


async def test_without_dates_it_is_this_months(app: App) -> None:
    answer = await asked()
    today = datetime.now(UTC).date().isoformat()

    assert answer["from"] in (f"{today[:8]}01", f"{answer['to'][:8]}01")
    assert answer["to"] <= today
    assert answer["total"] == {
        "calls": {"started": 0, "billed": 0, "refused": 0, "unknown": 0, "void": 0},
        "images": 0,
        "usage": dict.fromkeys(COUNTS, 0),
        "costs": [],
        "unpriced_calls": 0,
    }


async def test_wrong_queries_are_refused_by_name(app: App) -> None:
    assert await refused(**{"from": "yesterday"}) == ("invalid_value", "from")
    assert await refused(**{"from": "2026-01-01", "to": "2026-04-03"}) == ("invalid_value", "from")
    assert await refused(to="2026-02-30") == ("invalid_value", "to")
    assert await refused(group_by="hour") == ("invalid_value", "group_by")
    assert await refused(by="day") == ("unknown_parameter", "by")


async def test_a_principal_is_shown_its_own_calls_alone(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*random_rows(FIRST, 120, random.Random(9))]
    table_rows.insert(settings().table_service_uri, "ledger", rows)
    day = FIRST.isoformat()
    own = [row for row in rows if row["owner"] == "alice"]

    async def seen(caller: Caller) -> dict[str, Any]:
        monkeypatch.setattr(web, "caller", lambda _: caller)
        return await asked(**{"from": day, "to": day, "group_by": "owner"})

    answer = await seen(ALICE)
    assert exact(answer["total"]) == summed(own)
    assert [group["key"] for group in answer["groups"]] == ["alice"]
    assert [group["key"] for group in (await seen(Caller("o'neill", sees_all=False)))["groups"]] == ["o'neill"]
    assert (await seen(Caller("alic", sees_all=False)))["groups"] == []
    for sees_all in (CALLER, Caller("root", sees_all=True)):
        assert exact((await seen(sees_all))["total"]) == summed(rows)


async def test_days_that_retention_removed_are_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await app.run()
    assert (await asked())["kept_from"] is None
    use_settings(monkeypatch, [], DEPLOYMENTS=json.dumps([]), RETENTION_DAYS="1")
    monkeypatch.setattr(retention, "LEDGER_REACH", timedelta(days=2))
    await retention.remove_expired(now=datetime.now(UTC) + timedelta(days=3))

    kept = await (await rooms()).expiry.ledger_from()
    answer = await asked()

    assert kept is not None
    assert answer["kept_from"] == kept.isoformat()
    assert kept > datetime.now(UTC).date()
    assert answer["total"]["calls"]["billed"] == 0


async def test_a_day_is_read_by_its_partition_page_by_page_and_only_what_is_summed(app: App) -> None:
    rows = [*random_rows(FIRST, 1_100, random.Random(4))]
    table_rows.insert(settings().table_service_uri, "ledger", [{**row, "usage": "x" * 500} for row in rows])
    day = FIRST.isoformat()

    async with recording() as recorder:
        await asked(**{"from": day, "to": day})

    recorder.check(pages=None)
    assert {query.filter.split()[2] for query in recorder.queries if query.filter} == {"'20260130'"}
    assert [(query.page, query.top) for query in recorder.queries] == [(page, 250) for page in range(1, 6)]
    assert sum(query.received for query in recorder.queries) < len(rows) * 500


async def test_more_groups_than_an_answer_holds_are_refused(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    table_rows.insert(settings().table_service_uri, "ledger", random_rows(FIRST, 50, random.Random(5)))
    monkeypatch.setattr(usage, "MOST_GROUPS", 2)
    day = FIRST.isoformat()

    assert await refused(**{"from": day, "to": day, "group_by": "owner"}) == ("invalid_value", "group_by")
    assert len((await asked(**{"from": day, "to": day, "group_by": "deployment"}))["groups"]) == 2


async def test_days_that_cannot_be_read_in_time_are_refused(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    table_rows.insert(settings().table_service_uri, "ledger", random_rows(FIRST, 50, random.Random(5)))
    monkeypatch.setattr(usage, "settings", lambda: replace(settings(), sync_budget_seconds=0.0))
    day = FIRST.isoformat()

    assert await refused(**{"from": day, "to": day}) == ("invalid_value", "from")


async def test_storage_that_does_not_answer_is_told(app: App) -> None:
    await rooms()
    async with clients.tables().get_table_client("ledger") as table:
        await table.delete_table()

    answer = await call(money.get_usage, method="GET")

    assert (answer.status_code, json.loads(bytes(answer.body))["error"]["code"]) == (503, "storage_unavailable")
