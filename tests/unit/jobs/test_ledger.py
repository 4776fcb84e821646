"""Each call has one row, which says what was asked and what became of it, and never forgets what was billed."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from shared.images.pricing import Cost
from shared.jobs.ledger import Ledger, Outcome
from shared.jobs.rows import Rows
from shared.jobs.store import JobStore


@pytest.fixture
def ledger(tables, clock):
    return Ledger(tables("ledger"), clock=clock)


@pytest.fixture
async def calling(tables, clock, make_job):
    store = JobStore(tables("jobs"), clock=clock)
    return await store.begin_call(await store.create(make_job(runner="r", owner="ö/#")), "dep", "sweden")


@pytest.fixture
def row_of(tables):
    async def read(job):
        return await tables("ledger").get_entity("20261122", f"{job.id}-{job.calls}")

    return read


USAGE = {"input_tokens": 10, "output_tokens": 4160, "total_tokens": 4170, "input_tokens_details": {"text_tokens": 10}}


async def test_a_call_is_written_down_before_it_is_made(ledger, calling, row_of):
    await ledger.start(calling, model="gpt-image-1", facts={"n": 1, "size": "auto", "quality": "high", "mask": None})
    row = await row_of(calling)
    assert (row["outcome"], row["model"], row["deployment"], row["region"]) == (
        "started",
        "gpt-image-1",
        "dep",
        "sweden",
    )
    assert (row["job_id"], row["call"], row["attempt"], row["owner"], row["n"]) == (calling.id, 1, 1, "ö/#", 1)
    assert row["started_at"] == "2026-11-22T12:00:00.123456Z"


async def test_a_settled_call_says_what_it_cost(ledger, calling, row_of, clock):
    await ledger.start(calling, model="gpt-image-1", facts={"n": 1})
    clock.advance(42)
    outcome = await ledger.settle(
        calling, Outcome.BILLED, usage=USAGE, cost=Cost(Decimal("0.16700"), "USD"), images=1, request_id="id"
    )
    row = await row_of(calling)
    assert (outcome, row["outcome"], row["amount"], row["currency"]) == (Outcome.BILLED, "billed", "0.16700", "USD")
    assert (row["output_tokens"], json.loads(row["usage"]), row["n"], row["images"]) == (4160, USAGE, 1, 1)
    assert row["settled_at"] == "2026-11-22T12:00:42.123456Z"


@pytest.mark.parametrize("settled", [Outcome.BILLED, Outcome.REFUSED, Outcome.VOID])
async def test_what_is_settled_stays_when_a_later_runner_knows_nothing(ledger, calling, row_of, settled):
    await ledger.start(calling, model="m", facts={})
    await ledger.settle(calling, settled, cost=Cost(Decimal(1), "USD"))
    assert await ledger.settle(calling, Outcome.UNKNOWN, possibly_billed=Cost(Decimal(1), "USD")) is settled
    row = await row_of(calling)
    assert (row["outcome"], row["amount"]) == (settled, "1")
    assert "possibly_billed" not in row


async def test_an_unknown_call_may_become_known(ledger, calling, row_of):
    await ledger.settle(calling, Outcome.UNKNOWN, possibly_billed=Cost(Decimal("0.04"), "USD"))
    assert (await row_of(calling))["possibly_billed"] == "0.04"
    assert await ledger.settle(calling, Outcome.BILLED, cost=Cost(Decimal("0.04"), "USD")) is Outcome.BILLED
    row = await row_of(calling)
    assert (row["outcome"], row["amount"], row["deployment"]) == ("billed", "0.04", "dep")
    assert "possibly_billed" not in row


async def test_a_call_that_was_never_started_is_settled_whole(ledger, calling, row_of):
    assert await ledger.settle(calling, Outcome.UNKNOWN) is Outcome.UNKNOWN
    row = await row_of(calling)
    assert (row["outcome"], row["job_id"], row["deployment"]) == ("unknown", calling.id, "dep")


async def test_starting_twice_does_not_unsettle(ledger, calling, row_of):
    await ledger.start(calling, model="m", facts={})
    await ledger.settle(calling, Outcome.REFUSED, error_code="429")
    await ledger.start(calling, model="m", facts={})
    assert (await row_of(calling))["outcome"] == "refused"


async def test_each_call_of_a_job_has_its_row(tables, clock, make_job, ledger, row_of):
    store = JobStore(tables("jobs"), clock=clock)
    first = await store.begin_call(await store.create(make_job(runner="r")), "dep")
    await ledger.settle(first, Outcome.REFUSED)
    second = await store.begin_call(await store.uncount_call(first), "other")
    await ledger.settle(second, Outcome.BILLED)
    assert [(await row_of(job))["outcome"] for job in (first, second)] == ["refused", "billed"]
    assert [(await row_of(job))["deployment"] for job in (first, second)] == ["dep", "other"]


async def test_a_bill_and_a_guess_at_once_leave_the_bill(ledger, calling, row_of):
    await ledger.start(calling, model="m", facts={})
    await asyncio.gather(ledger.settle(calling, Outcome.UNKNOWN), ledger.settle(calling, Outcome.BILLED))
    assert (await row_of(calling))["outcome"] == "billed"


@pytest.mark.parametrize(
    "usage", [{"input_tokens": -1}, {"input_tokens": True}, {"input_tokens": 2**31}, {"x": "y" * 9_000}, {}]
)
async def test_a_strange_usage_does_not_keep_the_bill_from_being_written(ledger, calling, row_of, usage):
    assert await ledger.settle(calling, Outcome.BILLED, usage=usage, cost=Cost(Decimal(1), "USD")) is Outcome.BILLED
    assert "input_tokens" not in await row_of(calling)


async def test_a_job_without_a_call_has_no_row(ledger, make_job):
    with pytest.raises(ValueError, match="no ledger row"):
        await ledger.start(make_job(), model="m", facts={})


async def test_a_row_that_is_as_it_was_started_is_settled_unread(ledger, calling, row_of, monkeypatch):
    started = await ledger.start(calling, model="gpt-image-1", facts={"n": 2, "size": "auto"})
    with monkeypatch.context() as patch:
        patch.delattr(Rows, "get")
        outcome = await ledger.settle(calling, Outcome.BILLED, cost=Cost(Decimal("0.04"), "USD"), started=started)
    row = await row_of(calling)
    assert (outcome, row["outcome"], row["amount"], row["n"]) == (Outcome.BILLED, "billed", "0.04", 2)
    assert (row["model"], row["deployment"], row["started_at"]) == ("gpt-image-1", "dep", "2026-11-22T12:00:00.123456Z")


@pytest.mark.parametrize("by_then", [Outcome.BILLED, Outcome.UNKNOWN])
async def test_a_row_that_another_runner_settled_since_it_was_started_is_read(ledger, calling, row_of, by_then):
    started = await ledger.start(calling, model="m", facts={})
    await ledger.settle(calling, by_then, cost=Cost(Decimal(1), "USD"))
    refused = await ledger.settle(calling, Outcome.REFUSED, started=started)
    assert refused is (Outcome.BILLED if by_then is Outcome.BILLED else Outcome.REFUSED)
    assert (await row_of(calling))["outcome"] == refused


async def test_a_row_that_was_there_when_it_was_to_be_started_is_read_to_be_settled(ledger, calling, row_of):
    await ledger.settle(calling, Outcome.BILLED, cost=Cost(Decimal(1), "USD"))
    assert await ledger.start(calling, model="m", facts={}) is None
    assert await ledger.settle(calling, Outcome.VOID, started=None) is Outcome.BILLED
