"""The queue listener: what stands between a storage queue and a queue-triggered function.

`host.py` starts one for each queue function and each worker, as a platform that scales out would. The rules are those
of QueueListener.cs and QueueProcessor.cs in Azure/azure-sdk-for-net:
1. Take up to `batchSize` messages with a lease; take more as soon as at most `newBatchThreshold` are running.
2. A message taken more than `maxDequeueCount` times goes to `<queue>-poison` unseen.
3. While its function runs, a message's lease is renewed.
4. Success deletes it. Failure at the last count moves it to `<queue>-poison`; an earlier one makes it visible again
   after `visibilityTimeout`. A poison queue has no poison queue: there a failed message only waits out its lease.
5. An empty queue is asked less and less often, up to `maxPollingInterval`; a broken one likewise, and never given up.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from local.host.invocations import InvocationError, Value, jsonable, text
from local.host.process import WorkerLostError
from local.host.settings import QueueSettings

_SHORTEST_IDLE_SECONDS = 0.1
_SETTLE_SECONDS = 5.0

log = logging.getLogger("host.queue")


@dataclass
class QueueMessage:
    """A message as it was taken; `pop_receipt` changes with each renewal. Times are aware."""

    id: str
    content: str
    pop_receipt: str
    dequeue_count: int
    inserted_on: datetime
    expires_on: datetime
    next_visible_on: datetime


class MessageGoneError(Exception):
    """The message, or our claim on it, no longer exists."""


class StorageError(Exception):
    """The queue could not be reached or refused; the message says how, without addresses that carry secrets."""


class Queue(Protocol):
    """What a listener needs of a storage queue. Timeouts in seconds; any method may raise StorageError."""

    name: str

    async def create(self) -> None:
        """Make the queue unless it exists."""

    async def receive(self, count: int, visibility_timeout: float) -> list[QueueMessage]:
        """Take up to `count` (1 to 32) messages."""

    async def update(self, message: QueueMessage, visibility_timeout: float) -> None:
        """Set when the message is visible again; changes its pop receipt. Raises MessageGoneError."""

    async def delete(self, message: QueueMessage) -> None:
        """Delete a message. Raises MessageGoneError."""

    async def send(self, content: str) -> None:
        """Add a message that never expires, making the queue if need be."""


type Handler = Callable[[Value, dict[str, Value]], Awaitable[None]]
"""Runs the function with a message's text and metadata. Raises InvocationError or WorkerLostError when it failed."""


class QueueListener:
    """Feeds the messages of `queue` to `handle`. `poison` is None for a queue that is itself a poison queue.

    `ready` is awaited before messages are taken, so that none is leased for a worker that is not there.
    """

    def __init__(
        self,
        queue: Queue,
        poison: Queue | None,
        settings: QueueSettings,
        handle: Handler,
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        self._queue, self._poison, self._settings = queue, poison, settings
        self._handle, self._ready = handle, ready
        self._stopping, self._notified = asyncio.Event(), asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._idle = _SHORTEST_IDLE_SECONDS
        self._is_broken = False
        self._is_closing = False

    def start(self) -> None:
        """Begin to listen."""
        self._loop = asyncio.create_task(self._listen())
        self._loop.add_done_callback(self._report)

    def notify(self) -> None:
        """Say that there is a message: an idle listener asks at once (SharedQueueWatcher in the extension)."""
        self._notified.set()

    def _report(self, loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()):
            log.critical("The listener of queue '%s' broke down.", self._queue.name, exc_info=error)

    async def stop(self) -> None:
        """Take no more messages; those that were taken meanwhile go back at once. Running ones go on."""
        self._stopping.set()
        if self._loop is not None:
            await asyncio.gather(self._loop, return_exceptions=True)

    async def settle(self, timeout: float = _SETTLE_SECONDS) -> None:  # noqa: ASYNC109  (several waits share it)
        """Wait for running messages to end, or be given back now that their worker has gone."""
        self._is_closing = True
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        for task in self._running:
            task.cancel()

    @property
    def running(self) -> frozenset[asyncio.Task[None]]:
        """The messages being processed."""
        return frozenset(self._running)

    async def _listen(self) -> None:
        created = False
        while not self._stopping.is_set():
            await self._unless_stopping(self._ready())
            if self._stopping.is_set():
                return
            try:
                if not created:
                    await self._queue.create()
                    created = True
                messages = await self._queue.receive(self._settings.batch_size, self._settings.lease)
            except StorageError as error:
                created = False
                await self._pause(error)
                continue
            if self._is_broken:
                log.info("Queue '%s' answers again.", self._queue.name)
                self._is_broken, self._idle = False, _SHORTEST_IDLE_SECONDS
            await self._take(messages)
            if messages:
                self._idle = _SHORTEST_IDLE_SECONDS
                await self._wait_for_room()
            else:
                await self._pause()

    async def _take(self, messages: list[QueueMessage]) -> None:
        for message in messages:
            if self._stopping.is_set():
                await self._quietly(self._queue.update(message, 0), message)
                continue
            task = asyncio.create_task(self._process(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _wait_for_room(self) -> None:
        while len(self._running) > self._settings.new_batch_threshold and not self._stopping.is_set():
            await self._unless_stopping(asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED))

    async def _pause(self, error: StorageError | None = None) -> None:
        if error is not None and not self._is_broken:
            log.warning("Queue '%s' does not answer and is tried again: %s", self._queue.name, error)
            self._is_broken = True
        await self._unless_stopping(self._idle_away(self._idle * random.uniform(0.8, 1.2)))
        self._idle = min(self._idle * 2, self._settings.max_polling_interval)

    async def _idle_away(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._notified.wait(), seconds)
            self._idle = _SHORTEST_IDLE_SECONDS
        self._notified.clear()

    async def _unless_stopping(self, awaitable: Awaitable[object]) -> None:
        waiting, stopping = asyncio.ensure_future(awaitable), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, stopping):
            task.cancel()
        await asyncio.gather(waiting, stopping, return_exceptions=True)

    async def _process(self, message: QueueMessage) -> None:
        if message.dequeue_count > self._settings.max_dequeue_count:
            await self._to_poison(message)
            return
        try:
            content = self._decode(message.content)
        except ValueError:
            log.error("Message %s of queue '%s' is not base64 text.", message.id, self._queue.name)
            await self._to_poison(message)
            return
        renewal = asyncio.create_task(self._renew(message))
        try:
            await self._handle(text(content), trigger_metadata(message, content))
            succeeded = True
        except (InvocationError, WorkerLostError):
            succeeded = False
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
        await self._complete(message, succeeded)

    async def _complete(self, message: QueueMessage, succeeded: bool) -> None:
        settings = self._settings
        if succeeded:
            await self._quietly(self._queue.delete(message), message)
        elif self._is_closing:
            # The host ended the worker; that the message was under way says nothing against it.
            await self._quietly(self._queue.update(message, settings.visibility_timeout), message)
        elif self._poison is None:
            log.warning("Message %s failed in '%s', which has no poison queue.", message.id, self._queue.name)
        elif message.dequeue_count >= settings.max_dequeue_count:
            await self._to_poison(message)
        else:
            await self._quietly(self._queue.update(message, settings.visibility_timeout), message)

    async def _to_poison(self, message: QueueMessage) -> None:
        if self._poison is None:
            return
        count, name = self._settings.max_dequeue_count, self._poison.name
        log.warning("Message has reached MaxDequeueCount of %d. Moving message to queue '%s'.", count, name)
        try:
            await self._poison.send(message.content)
        except StorageError as error:
            log.warning("Message %s could not be moved to '%s': %s", message.id, name, error)
            return
        await self._quietly(self._queue.delete(message), message)

    async def _renew(self, message: QueueMessage) -> None:
        pause = self._settings.lease / 2
        while True:
            await asyncio.sleep(pause)
            try:
                await self._queue.update(message, self._settings.lease)
                pause = self._settings.lease / 2
            except StorageError as error:
                log.warning("The lease of message %s could not be renewed: %s", message.id, error)
                pause = self._settings.lease / 10
            except MessageGoneError:
                log.warning("Message %s of '%s' is another's now.", message.id, self._queue.name)
                return

    async def _quietly(self, operation: Awaitable[None], message: QueueMessage) -> None:
        try:
            await operation
        except MessageGoneError:
            log.warning("Message %s of '%s' was no longer ours.", message.id, self._queue.name)
        except StorageError as error:
            log.warning("Message %s of '%s' returns when its lease ends: %s", message.id, self._queue.name, error)

    def _decode(self, content: str) -> str:
        if not self._settings.base64:
            return content
        try:
            return base64.b64decode(content, validate=True).decode()
        except binascii.Error as error:
            raise ValueError from error


def trigger_metadata(message: QueueMessage, content: str) -> dict[str, Value]:
    """The binding data of a queue message, and the members of a JSON body beside it, as Azure's host gives them."""
    members: dict[str, Value] = {}
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if isinstance(body, dict):
        members = {name: text(value) if isinstance(value, str) else jsonable(value) for name, value in body.items()}
    return {
        **members,
        "QueueTrigger": text(content),
        "Id": text(message.id),
        "PopReceipt": text(message.pop_receipt),
        "DequeueCount": jsonable(message.dequeue_count),
        "InsertionTime": jsonable(message.inserted_on.isoformat()),
        "ExpirationTime": jsonable(message.expires_on.isoformat()),
        "NextVisibleTime": jsonable(message.next_visible_on.isoformat()),
    }
