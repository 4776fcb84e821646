"""A flow that waits for an answer, by the rules of Logic Apps and Power Automate, to the letter.

- The action's first answer is 202 with an absolute `Location`; anything but 202 is its output at once.
- It waits as long as `Retry-After` says, 20 s where nothing is said.
- It asks that `Location`, without any header of its own: Power Automate sends neither keys nor tokens there
  (MicrosoftDocs/architecture-center#4307).
- 202 again: the same again, with the `Location` of this answer. The first other status ends it, and is the output.

Source: https://learn.microsoft.com/azure/logic-apps/logic-apps-create-api-app#async-pattern.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

DEFAULT_WAIT_SECONDS = 20.0
_MOST_POLLS = 1_000


class FlowFailedError(Exception):
    """The action fails: an answer is not what the rules ask for."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the action gives to the flow. `waits` are the seconds it was told to wait before each of its polls, `asked`
    the addresses it polled."""

    status: int
    body: Any
    waits: tuple[float, ...]
    asked: tuple[str, ...]


async def scaled(seconds: float) -> None:
    """Time for tests: a second is 20 ms."""
    await asyncio.sleep(seconds / 50)


async def output(first: httpx.Response, *, sleep: Callable[[float], Awaitable[None]] = scaled) -> Output:
    """The output of an action whose request was answered with `first`. Raises `FlowFailedError`."""
    waits: list[float] = []
    asked: list[str] = []
    answer = first
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=120) as client:
        client.headers.clear()
        while answer.status_code == 202:
            waits.append(_wait(answer))
            asked.append(_location(answer))
            if len(asked) > _MOST_POLLS:
                raise FlowFailedError("it polls for ever")
            await sleep(waits[-1])
            answer = await client.get(asked[-1])
            _check_bare(answer.request)
    return Output(answer.status_code, answer.json() if answer.content else None, tuple(waits), tuple(asked))


def _location(answer: httpx.Response) -> str:
    location: str = answer.headers.get("location", "")
    parts = urlsplit(location)
    if not (parts.scheme and parts.netloc):
        raise FlowFailedError(f"a 202 without an absolute Location: {location!r}")
    return location


def _wait(answer: httpx.Response) -> float:
    told = answer.headers.get("retry-after")
    if told is None:
        return DEFAULT_WAIT_SECONDS
    if not (told.isascii() and told.isdigit()):
        raise FlowFailedError(f"a Retry-After that is no number of seconds: {told!r}")
    return float(told)


def _check_bare(request: httpx.Request) -> None:
    """HTTP itself asks for a Host; nothing else went out."""
    assert request.headers.keys() <= {"host"}, request.headers.keys()
