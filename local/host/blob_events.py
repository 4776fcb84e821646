"""What stands for Event Grid on a storage account: finds out what was written to a container, and tells the host.

Azurite announces nothing, so the containers of blob triggers are listed again and again. Each new or rewritten blob
becomes an event, POSTed to the host's own webhook by HTTP until that takes it. As with a subscription that
infrastructure makes, the container is its only filter.

`host.py` starts one `BlobEvents`; `frontend.py` shows and sets its behaviour (`blob_behaviour.py`): late, twice and out
of order, as Event Grid delivers too, which promises at least once and no order.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from typing import Any

import aiohttp
from yarl import URL

from local.host.blob_behaviour import Behaviour, Counters
from local.host.blob_storage import Blob
from local.host.blob_subscription import Subscription, created
from local.host.queues import StorageError

_LOOK_SECONDS = 0.3
_LOOKING_SHARE = 5
_LONGEST_PAUSE_SECONDS = 3.0
_IN_FLIGHT = 16
_FINAL = (400, 413)
_RETRY_SECONDS = (1, 3, 6, 30)
"""A tenth of Event Grid's first waits, then the last of them each time: a developer is waiting here."""
_PATIENCE = aiohttp.ClientTimeout(total=30)  # what Event Grid waits for an answer

log = logging.getLogger("host.blob_events")


class BlobEvents:
    """Watches the containers of `subscriptions` and delivers to `webhook` with the key `key`."""

    def __init__(self, subscriptions: list[Subscription], webhook: str, key: str) -> None:
        self._subscriptions = subscriptions
        self._webhook, self._key = URL(webhook), key
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._session: aiohttp.ClientSession | None = None
        self._sequence = time.time_ns()
        self._released = asyncio.Event()
        self.counters = Counters()
        self.behave(Behaviour())

    def behave(self, behaviour: Behaviour) -> None:
        """Deliver like this from now on; `hold` is for what waits already, too."""
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        if behaviour.hold:
            self._released.clear()
        else:
            self._released.set()

    def reset(self) -> None:
        """Behave as at the start, and count from nothing; what is on its way stays counted as that."""
        # The same object: deliveries under way take themselves off its counts when they end.
        counters = self.counters
        counters.seen = counters.delivered = counters.duplicates = counters.failed = 0
        self.behave(Behaviour())

    async def start(self) -> None:
        """Look once, so that all that is written from now on is new; then go on looking."""
        self._session = aiohttp.ClientSession(timeout=_PATIENCE)
        for subscription in self._subscriptions:
            subscription.recall()
            await self._look(subscription)
            self._begin(self._watch(subscription))

    async def stop(self) -> None:
        """Look and deliver no more; what was not taken is found again by the next host."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subscription in self._subscriptions:
            subscription.remember()
        if self._session is not None:
            await self._session.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.critical("The source of blob events broke down.", exc_info=error)

    async def _watch(self, subscription: Subscription) -> None:
        while True:
            started = time.monotonic()
            await self._look(subscription)
            pause = max(_LOOK_SECONDS, (time.monotonic() - started) * (_LOOKING_SHARE - 1))
            await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))

    async def _look(self, subscription: Subscription) -> None:
        try:
            blobs = await subscription.account.list(subscription.container)
        except StorageError as error:
            if not subscription.is_broken:
                log.warning("Container '%s' cannot be watched and is tried again: %s", subscription.container, error)
            subscription.is_broken = True
            return
        subscription.is_broken = False
        written = subscription.news(blobs)
        if self.behaviour.shuffle:
            self._random.shuffle(written)
        for blob in written:
            self._publish(subscription, blob)
        subscription.remember()

    def _publish(self, subscription: Subscription, blob: Blob) -> None:
        self.counters.seen += 1
        self._sequence += 1
        event = created(subscription.account, subscription.container, blob, self._sequence)
        self._begin(self._deliver(subscription, blob, event, is_duplicate=False))
        if self._random.random() < self.behaviour.duplicate:
            self._begin(self._deliver(subscription, blob, event, is_duplicate=True))

    async def _deliver(
        self, subscription: Subscription, blob: Blob, event: dict[str, Any], *, is_duplicate: bool
    ) -> None:
        self.counters.waiting += 1
        try:
            await asyncio.sleep(self._random.uniform(*self.behaviour.delay_seconds))
            await self._release()
            was_taken = await self._send(subscription.function, event)
        finally:
            self.counters.waiting -= 1
        self.counters.delivered += was_taken
        self.counters.duplicates += was_taken and is_duplicate
        subscription.took(blob)

    async def _release(self) -> None:
        self.counters.held += 1
        try:
            await self._released.wait()
        finally:
            self.counters.held -= 1

    async def _send(self, function: str, event: dict[str, Any]) -> bool:
        """Send until the webhook has taken the event; False when it says that it never will."""
        attempt = 0
        while (status := await self._attempt(function, event, attempt)) // 100 != 2:
            self.counters.failed += 1
            if status in _FINAL:
                log.error("Event %s was refused for good: %d.", event["id"], status)
                return False
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1
        return True

    async def _attempt(self, function: str, event: dict[str, Any], attempt: int) -> int:
        """The status of the answer, or 0 when there was none."""
        assert self._session is not None
        headers = {"aeg-event-type": "Notification", "aeg-delivery-count": str(attempt), "aeg-metadata-version": "1"}
        url = self._webhook.with_query({"functionName": function, "code": self._key})
        try:
            async with self._slots, self._session.post(url, json=[event], headers=headers) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
