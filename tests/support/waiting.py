"""Waiting for what happens elsewhere: another process, the queue, a background task."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import httpx

_ASK_EVERY = 0.05


async def eventually[T](question: Callable[[], T], *, within: float = 20.0, what: str = "the condition") -> Any:
    """The first true answer of `question`, a function, perhaps of an awaitable. Fails after `within` seconds."""
    end = time.monotonic() + within
    while True:
        # In a thread: a test that holds up the loop of the app it watches changes what it sees.
        answer: Any = await asyncio.to_thread(question)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not come true within {within:g} s"
        await asyncio.sleep(_ASK_EVERY)


async def ended(client: httpx.AsyncClient, *jobs: str, within: float = 40.0) -> list[dict[str, Any]]:
    """The documents of `jobs` once all have ended. A synchronous answer may come before its job ends: it passes on
    while it is stored."""

    async def documents() -> list[dict[str, Any]] | None:
        answers = [await client.get(f"/api/jobs/{job}") for job in jobs]
        assert all(answer.status_code == 200 for answer in answers), [answer.text[:300] for answer in answers]
        found = [answer.json() for answer in answers]
        return found if all(document["finished_at"] for document in found) else None

    result: list[dict[str, Any]] = await eventually(documents, within=within, what="the end of all jobs")
    return result
