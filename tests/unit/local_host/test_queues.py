"""The queue listener's rules, against a queue in memory that keeps the same promises as Azure's."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from local.host import queues
from local.host.invocations import InvocationError, Value
from local.host.queues import MessageGoneError, QueueListener, QueueMessage, StorageError
from local.host.settings import QueueSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FAST = QueueSettings(base64=False, max_polling_interval=0.1, lease=600)


class MemoryQueue:
    """A storage queue: messages are taken with a lease, and each take or update makes a new pop receipt."""

    def __init__(self, name: str = "work") -> None:
        self.name = name
        self.exists = False
        self.broken = False
        self.messages: dict[str, QueueMessage] = {}
        self.visible_at: dict[str, float] = {}
        self.log: list[tuple[str, str, float]] = []
        self._receipts = itertools.count()
        self._changed = asyncio.Condition()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something that happened to the queue makes `predicate` true."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(predicate)

    async def _note(self, what: str, message_id: str, value: float) -> None:
        async with self._changed:
            self.log.append((what, message_id, value))
            self._changed.notify_all()

    def _check(self) -> None:
        if self.broken:
            raise StorageError("503 Server Busy")

    def _claimed(self, message: QueueMessage) -> QueueMessage:
        self._check()
        stored = self.messages.get(message.id)
        if stored is None or stored.pop_receipt != message.pop_receipt:
            raise MessageGoneError
        return stored

    async def create(self) -> None:
        if self.broken:
            await self._note("refused", "", 0)
        self._check()
        self.exists = True
        await self._note("created", "", 0)

    async def send(self, content: str) -> None:
        self._check()
        self.exists = True
        message_id = f"m{len(self.log)}-{next(self._receipts)}"
        self.messages[message_id] = QueueMessage(message_id, content, "", 0, NOW, NOW + timedelta(days=7), NOW)
        self.visible_at[message_id] = 0
        await self._note("sent", message_id, 0)

    async def receive(self, count: int, visibility_timeout: float) -> list[QueueMessage]:
        if self.broken:
            await self._note("refused", "", 0)
        self._check()
        if not self.exists:
            raise StorageError("404 The specified queue does not exist.")
        now = asyncio.get_running_loop().time()
        taken = [each for each in self.messages.values() if self.visible_at[each.id] <= now][:count]
        for message in taken:
            message.dequeue_count += 1
            message.pop_receipt = f"r{next(self._receipts)}"
            self.visible_at[message.id] = now + visibility_timeout
            await self._note("taken", message.id, visibility_timeout)
        if not taken:
            await self._note("asked", "", 0)
        return [replace(message) for message in taken]

    async def update(self, message: QueueMessage, visibility_timeout: float) -> None:
        stored = self._claimed(message)
        stored.pop_receipt = message.pop_receipt = f"r{next(self._receipts)}"
        self.visible_at[message.id] = asyncio.get_running_loop().time() + visibility_timeout
        await self._note("updated", message.id, visibility_timeout)

    async def delete(self, message: QueueMessage) -> None:
        self._claimed(message)
        del self.messages[message.id]
        await self._note("deleted", message.id, 0)

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.log)


class Function:
    """A function that the test steers: fails while `fails`, waits while `gate` is closed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Value]]] = []
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = self.most_running = 0
        self.started = asyncio.Semaphore(0)

    async def __call__(self, value: Value, metadata: dict[str, Value]) -> None:
        self.seen.append((value["string"], metadata))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.started.release()
        try:
            await self.gate.wait()
            if self.fails:
                raise InvocationError("failed on purpose")
        finally:
            self.running -= 1


type Listen = Callable[..., Awaitable[QueueListener]]


@pytest.fixture
async def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
async def poison() -> MemoryQueue:
    return MemoryQueue("work-poison")


@pytest.fixture
async def function() -> Function:
    return Function()


@pytest.fixture
async def listen(queue: MemoryQueue, poison: MemoryQueue, function: Function) -> AsyncIterator[Listen]:
    listeners: list[QueueListener] = []

    async def ready() -> None:
        return

    async def start(settings: QueueSettings = FAST, poison: MemoryQueue | None = poison) -> QueueListener:
        listener = QueueListener(queue, poison, settings, function, ready)
        listener.start()
        listeners.append(listener)
        return listener

    yield start
    function.gate.set()
    for listener in listeners:
        await listener.stop()
        await listener.settle()


async def test_a_message_that_succeeds_is_deleted(queue: MemoryQueue, function: Function, listen: Listen) -> None:
    await queue.send("hello")
    await listen()
    await queue.until(lambda: queue.count("deleted") == 1)
    assert [text for text, _ in function.seen] == ["hello"]


async def test_the_queue_is_made_when_it_is_missing(queue: MemoryQueue, listen: Listen) -> None:
    await listen()
    await queue.until(lambda: queue.count("asked") > 0)
    assert queue.exists


async def test_the_function_gets_the_messages_metadata_and_the_members_of_its_json(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    body = json.dumps({"job_id": "abc", "n": 2, "Id": "not this one"})
    await queue.send(body)
    await listen()
    await queue.until(lambda: queue.count("deleted") == 1)
    [(_, metadata)] = function.seen
    assert metadata["QueueTrigger"] == {"string": body}
    assert metadata["job_id"] == {"string": "abc"}
    assert metadata["n"] == {"json": "2"}
    assert metadata["Id"]["string"] in {entry[1] for entry in queue.log}
    assert metadata["DequeueCount"] == {"json": "1"}
    assert metadata["InsertionTime"] == {"json": json.dumps(NOW.isoformat())}


async def test_a_failed_message_returns_after_the_visibility_timeout(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.fails = True
    await queue.send("hello")
    await listen(replace(FAST, visibility_timeout=30))
    await queue.until(lambda: queue.count("updated") == 1)
    assert queue.log[-1][2] == 30
    assert queue.count("deleted") == 0


async def test_a_message_that_fails_for_the_last_time_goes_to_the_poison_queue(
    queue: MemoryQueue, poison: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.fails = True
    await queue.send("hello")
    await listen(replace(FAST, max_dequeue_count=3))
    await queue.until(lambda: queue.count("deleted") == 1)
    assert len(function.seen) == 3
    assert [message.content for message in poison.messages.values()] == ["hello"]


async def test_a_message_taken_too_often_goes_to_the_poison_queue_unseen(
    queue: MemoryQueue, poison: MemoryQueue, function: Function, listen: Listen
) -> None:
    await queue.send("hello")
    next(iter(queue.messages.values())).dequeue_count = 5
    await listen()
    await queue.until(lambda: queue.count("deleted") == 1)
    assert function.seen == []
    assert len(poison.messages) == 1


async def test_a_message_stays_when_the_poison_queue_cannot_take_it(
    queue: MemoryQueue, poison: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.fails, poison.broken = True, True
    await queue.send("hello")
    listener = await listen(replace(FAST, max_dequeue_count=1))
    async with asyncio.timeout(10):
        await function.started.acquire()
        while listener.running:
            await asyncio.wait(listener.running)
    assert len(queue.messages) == 1


async def test_a_failed_message_of_a_poison_queue_only_waits_out_its_lease(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.fails = True
    await queue.send("hello")
    listener = await listen(poison=None)
    async with asyncio.timeout(10):
        await function.started.acquire()
        while listener.running:
            await asyncio.wait(listener.running)
    assert queue.count("updated") == queue.count("deleted") == 0


async def test_the_lease_is_renewed_while_the_function_runs(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.gate.clear()
    await queue.send("hello")
    await listen(replace(FAST, lease=0.04))
    await queue.until(lambda: queue.count("updated") >= 3)
    assert queue.count("taken") == 1
    function.gate.set()
    await queue.until(lambda: queue.count("deleted") == 1)  # with the receipt of the last renewal


async def test_a_message_that_another_took_over_is_left_to_it(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.gate.clear()
    await queue.send("hello")
    listener = await listen()
    await function.started.acquire()
    message = next(iter(queue.messages.values()))
    message.pop_receipt = "another's"
    function.gate.set()
    while listener.running:
        await asyncio.wait(listener.running)
    assert queue.count("deleted") == 0


async def test_no_more_run_at_once_than_batch_size_and_threshold_allow(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    for number in range(20):
        await queue.send(str(number))
    function.gate.clear()
    await listen(replace(FAST, batch_size=4, new_batch_threshold=2))
    async with asyncio.timeout(10):
        for _ in range(4):
            await function.started.acquire()
    assert queue.count("taken") == 4
    function.gate.set()
    await queue.until(lambda: queue.count("deleted") == 20)
    assert function.most_running <= 6


async def test_base64_messages_are_decoded_and_others_are_poison(
    queue: MemoryQueue, poison: MemoryQueue, function: Function, listen: Listen
) -> None:
    await queue.send("no base64!")
    await queue.send(base64.b64encode("привет".encode()).decode())
    await listen(replace(FAST, base64=True))
    await queue.until(lambda: queue.count("deleted") == 2)
    assert [text for text, _ in function.seen] == ["привет"]
    assert [message.content for message in poison.messages.values()] == ["no base64!"]


async def test_a_listener_survives_storage_that_fails(queue: MemoryQueue, function: Function, listen: Listen) -> None:
    queue.broken = True
    await listen()
    await queue.until(lambda: queue.count("refused") == 1)
    queue.broken = False
    await queue.until(lambda: queue.exists)
    queue.broken = True
    await queue.until(lambda: queue.count("refused") == 3)
    queue.broken = False
    await queue.send("hello")
    await queue.until(lambda: queue.count("deleted") == 1)
    assert len(function.seen) == 1


async def test_an_idle_listener_that_is_notified_asks_at_once(
    queue: MemoryQueue, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_SHORTEST_IDLE_SECONDS", 600)
    listener = await listen(replace(FAST, max_polling_interval=600))
    await queue.until(lambda: queue.count("asked") == 1)
    await queue.send("hello")
    listener.notify()
    await queue.until(lambda: queue.count("deleted") == 1)


async def test_stopping_takes_no_more_messages_and_lets_the_running_ones_end(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.gate.clear()
    await queue.send("running")
    listener = await listen()
    await function.started.acquire()
    await listener.stop()
    await queue.send("late")
    function.gate.set()
    await listener.settle()
    assert [text for text, _ in function.seen] == ["running"]
    assert [message.content for message in queue.messages.values()] == ["late"]


async def test_messages_taken_while_stopping_go_back_at_once(
    queue: MemoryQueue, function: Function, listen: Listen
) -> None:
    receive, taken, may_return = queue.receive, asyncio.Event(), asyncio.Event()

    async def slow_receive(count: int, visibility_timeout: float) -> list[QueueMessage]:
        messages = await receive(count, visibility_timeout)
        taken.set()
        await may_return.wait()
        return messages

    queue.receive = slow_receive  # type: ignore[method-assign]
    await queue.send("hello")
    listener = await listen()
    await taken.wait()
    stopping = asyncio.ensure_future(listener.stop())
    await asyncio.sleep(0)
    may_return.set()
    await stopping
    assert function.seen == []
    assert queue.log[-1][0::2] == ("updated", 0)


async def test_a_message_whose_worker_the_host_ended_is_no_poison(
    queue: MemoryQueue, poison: MemoryQueue, function: Function, listen: Listen
) -> None:
    function.gate.clear()
    function.fails = True
    await queue.send("hello")
    listener = await listen(replace(FAST, max_dequeue_count=1, visibility_timeout=10))
    await function.started.acquire()
    await listener.stop()
    settling = asyncio.ensure_future(listener.settle())
    await asyncio.sleep(0)
    function.gate.set()
    await settling
    assert poison.messages == {}
    assert queue.log[-1][0::2] == ("updated", 10)
