"""A caller's key belongs to one job."""

from __future__ import annotations

import asyncio

import pytest

from shared.jobs.idempotency import Existing, Idempotency, Own, row_of_key, row_of_repeats


@pytest.fixture
def idempotency(tables, clock):
    return Idempotency(tables("idempotency"), clock=clock)


async def test_the_first_claim_of_a_key_owns_it_and_later_ones_learn_whose_it_is(idempotency, clock):
    at = clock()
    assert await idempotency.claim("key", "k", "hash", "one") == Own("one")
    clock.advance(60)
    assert await idempotency.claim("key", "k", "hash", "two") == Existing("one", True, at)
    assert await idempotency.claim("key", "k", "other", "three") == Existing("one", False, at)


async def test_a_key_is_its_owners_alone(idempotency):
    assert await idempotency.claim("a/b", "k", "h", "one") == Own("one")
    assert await idempotency.claim("a", "k", "h", "two") == Own("two")
    assert await idempotency.claim("a/b", "", "h", "three") == Own("three")


async def test_of_many_claims_at_once_one_owns_the_key(idempotency):
    claims = await asyncio.gather(*(idempotency.claim("key", "k", "h", f"job{number}") for number in range(6)))
    (own,) = [claim for claim in claims if isinstance(claim, Own)]
    assert {claim.job_id for claim in claims} == {own.job_id}


@pytest.mark.parametrize("key", ["", "ж" * 5_000, "a/b\\c#d?e\x00", "\ud800"])
async def test_any_text_is_a_key(idempotency, key):
    assert await idempotency.claim("key", key, "h", "one") == Own("one")
    assert (await idempotency.claim("key", key, "h", "two")).job_id == "one"


async def test_a_claim_can_be_given_to_another_request_once(idempotency):
    row = row_of_key("k")
    await idempotency.claim("key", "k", "hash", "one")
    first = await idempotency.claim("key", "k", "hash", "two")
    given = await asyncio.gather(*(idempotency.rebind("key", row, first, "hash", job) for job in ("two", "three")))
    winner = "two" if given[0] else "three"
    assert sorted(given) == [False, True]
    assert (await idempotency.find("key", row, "hash")).job_id == winner
    assert await idempotency.rebind("key", row, first, "hash", winner), "its own, whose answer was lost"


async def test_the_last_of_those_that_repeat_without_a_key_is_the_one_that_is_found(idempotency, clock):
    row = row_of_repeats("hash")
    assert await idempotency.find("key", row, "hash") is None
    for job in ("one", "two"):
        clock.advance(1)
        await idempotency.bind("key", row, "hash", job)
    assert await idempotency.find("key", row, "hash") == Existing("two", True, clock())
    assert await idempotency.find("another", row, "hash") is None


async def test_many_that_bind_at_once_all_get_through(idempotency):
    row = row_of_repeats("hash")
    await asyncio.gather(*(idempotency.bind("key", row, "hash", f"job{number}") for number in range(4)))
    assert (await idempotency.find("key", row, "hash")).job_id.startswith("job")


def test_no_key_reaches_the_row_of_those_that_have_none():
    assert row_of_key(row_of_repeats("hash")) != row_of_repeats("hash")
