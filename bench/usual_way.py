"""The usual way: a queue function that calls the model with the openai SDK and lets a failure be the platform's matter.

The platform's part is played here: 24 messages in flight (batchSize 16, newBatchThreshold 8), a failed one visible
again after 10 s, five tries, then the poison queue. The SDK's retries are its defaults: two, at the pace the service
asks for.
"""

from __future__ import annotations

import asyncio
import heapq
import ssl
import time
from typing import Final

import openai

from bench.backlog import DEPLOYMENT, REQUEST

IN_FLIGHT: Final = 24
VISIBLE_AGAIN_SECONDS: Final = 10.0
TRIES: Final = 5
_LOOK_AGAIN_SECONDS: Final = 0.1


def drain(model: str, ca: str, jobs: int) -> int:
    """Work through `jobs` messages against the service at `model`; how many ended in the poison queue."""
    return asyncio.run(_drain(model, ca, jobs))


async def _drain(model: str, ca: str, jobs: int) -> int:
    trust = ssl.create_default_context(cafile=ca)
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=model,
        api_key="none",
        api_version="2025-04-01-preview",
        http_client=openai.DefaultAsyncHttpxClient(verify=trust, trust_env=False),
    ) as client:
        queue = _Queue(jobs)
        async with asyncio.TaskGroup() as listeners:
            for _ in range(IN_FLIGHT):
                listeners.create_task(_listen(queue, client))
        return queue.poisoned


class _Queue:
    """Messages as (when visible, number, times taken)."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.poisoned = 0
        self._messages = [(0.0, number, 0) for number in range(jobs)]

    async def take(self) -> tuple[int, int] | None:
        """A message's number and how often it was taken, once one is visible; None when all have ended."""
        while self.left:
            if self._messages and self._messages[0][0] <= time.monotonic():
                _, number, taken = heapq.heappop(self._messages)
                return number, taken + 1
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return None

    def failed(self, number: int, taken: int) -> None:
        if taken < TRIES:
            heapq.heappush(self._messages, (time.monotonic() + VISIBLE_AGAIN_SECONDS, number, taken))
            return
        self.poisoned += 1
        self.left -= 1


async def _listen(queue: _Queue, client: openai.AsyncAzureOpenAI) -> None:
    while message := await queue.take():
        try:
            await client.images.generate(model=DEPLOYMENT, prompt=REQUEST["prompt"], quality="low")
        except openai.APIError:
            queue.failed(*message)
        else:
            queue.left -= 1
