"""A caller's key belongs to one job."""

from __future__ import annotations

import asyncio

import pytest

from shared.jobs.idempotency import Existing, Idempotency, Own


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
