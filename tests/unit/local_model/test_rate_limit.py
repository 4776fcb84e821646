"""Requests per minute in a sliding window, and the 429 that polices them."""

from __future__ import annotations

import math

import httpx
from hypothesis import given
from hypothesis import strategies as st

from local.model.limiter import SlidingWindow
from tests.unit.local_model.support import GENERATIONS, PROMPT


@given(
    rpm=st.floats(1, 120),
    window=st.floats(1, 60),
    gaps=st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_no_window_ever_lets_more_through_than_its_allowance(rpm: float, window: float, gaps: list[float]) -> None:
    limiter, now, passed = SlidingWindow(), 0.0, []
    for gap in gaps:
        now += gap
        if limiter.take(now, rpm, window).allowed:
            passed.append(now)
    allowance = math.ceil(rpm * window / 60)
    assert all(sum(1 for other in passed if start <= other < start + window) <= allowance for start in passed)


@given(rpm=st.floats(1, 120), window=st.floats(1, 60), before=st.lists(st.floats(0, 3), max_size=30))
def test_waiting_as_long_as_told_is_enough_and_any_less_is_not(rpm: float, window: float, before: list[float]) -> None:
    limiter, now = SlidingWindow(), 100.0
    for gap in before:
        now += gap
        limiter.take(now, rpm, window)
    told = limiter.take(now, rpm, window)
    if told.remaining:
        assert told.reset_seconds == 0
        return
    sooner = SlidingWindow()
    sooner._calls.extend(limiter._calls)
    assert limiter.take(now + told.reset_seconds + 1e-6, rpm, window).allowed
    assert not sooner.take(now + told.reset_seconds - 1e-3, rpm, window).allowed


def test_refused_calls_take_a_place_too() -> None:
    limiter = SlidingWindow()
    assert [limiter.take(float(second), 9, 10).allowed for second in range(10)] == [True, True] + [False] * 8
    assert not limiter.take(11.5, 9, 10).allowed


async def test_a_burst_is_refused_below_the_per_minute_number(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 9, "window": 10})
    answers = [await client.post(GENERATIONS, json=PROMPT) for _ in range(3)]
    refused = answers[2]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert refused.json()["error"]["code"] == "429"
    assert "ImageGenerations_Create Operation under Azure OpenAI API version 2025-04-01-preview" in refused.text
    assert 9000 < int(refused.headers["retry-after-ms"]) <= 10_000
    assert int(refused.headers["retry-after"]) == math.ceil(int(refused.headers["retry-after-ms"]) / 1000)
    assert refused.headers["x-ratelimit-limit-requests"] == "9"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_bad_requests_use_up_the_allowance(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 9})
    bad = [await client.post(GENERATIONS, json={}) for _ in range(2)]
    good = await client.post(GENERATIONS, json=PROMPT)
    assert [answer.status_code for answer in (*bad, good)] == [400, 400, 429]


async def test_each_deployment_has_a_window_of_its_own(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 5})
    first = await client.post(GENERATIONS, json=PROMPT)
    other = await client.post(GENERATIONS.replace("gpt-image-1", "mini"), json=PROMPT)
    again = await client.post(GENERATIONS, json=PROMPT)
    assert [answer.status_code for answer in (first, other, again)] == [200, 200, 429]


async def test_the_operation_named_in_a_429_is_a_knob(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 1, "rate_limit_operation": "Images_Make"})
    answers = [await client.post(GENERATIONS, json=PROMPT) for _ in range(2)]
    assert "Requests to the Images_Make Operation" in answers[1].json()["error"]["message"]


async def test_resetting_the_behaviour_empties_the_windows(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 1})
    await client.post(GENERATIONS, json=PROMPT)
    await client.delete("/_local/behaviour")
    await client.put("/_local/behaviour", json={"rpm": 1})
    assert (await client.post(GENERATIONS, json=PROMPT)).status_code == 200
