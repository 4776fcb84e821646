"""The rounds of the outbox: what is due is sent, and nothing waits for what is slow."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared.jobs.outbox import OutboxEntry, What
from shared.pipeline import announce
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class FakeOutbox:
    def __init__(self, entries: list[OutboxEntry]) -> None:
        self.entries = entries
        self.gone: list[OutboxEntry] = []

    async def due(self) -> list[OutboxEntry]:
        return self.entries

    async def postpone(self, entry: OutboxEntry, due: datetime) -> OutboxEntry:
        return entry

    async def sent(self, entry: OutboxEntry) -> None:
        self.gone.append(entry)


class Receivers:
    """Those of callbacks hang until `answer`; the topic takes everything at once."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.answer = asyncio.Event()

    async def hang(self, room: object, entry: OutboxEntry) -> None:
        self.called.append(entry.job_id)
        await self.answer.wait()

    async def take(self, room: object, entry: OutboxEntry) -> None:
        return None


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Receivers:
    receivers = Receivers()
    monkeypatch.setattr(announce, "_SENDERS", {What.CALLBACK: receivers.hang, What.EVENT: receivers.take})
    return receivers


async def test_receivers_that_hang_hold_up_no_event_and_not_each_other(
    monkeypatch: pytest.MonkeyPatch, receivers: Receivers
) -> None:
    slow = [OutboxEntry(f"slow{number}", NOW, what=What.CALLBACK) for number in range(99)]
    event = OutboxEntry("job", NOW)
    outbox = FakeOutbox([*slow, event])

    async def room() -> SimpleNamespace:
        return SimpleNamespace(outbox=outbox)

    monkeypatch.setattr(announce, "rooms", room)

    sending = asyncio.create_task(announce.send_due())
    await eventually(lambda: outbox.gone and len(receivers.called) == 99, what="the event and all callbacks")
    assert outbox.gone == [event]
    receivers.answer.set()
    assert await sending == 100
    assert len(outbox.gone) == 100


async def test_of_the_ends_of_jobs_whose_receivers_hang_only_so_many_are_told_at_once(receivers: Receivers) -> None:
    outbox = FakeOutbox([])
    room: Any = SimpleNamespace(outbox=outbox)
    for number in range(150):
        event = OutboxEntry(f"job{number}", NOW)
        await announce.first_tries(room, (event, replace(event, what=What.CALLBACK)))

    await eventually(lambda: len(receivers.called) == 100, what="the callbacks")
    assert len(outbox.gone) == 150, "every event is sent at once"
    receivers.answer.set()
    await eventually(lambda: not announce._first_tries, what="the end of the first tries")
    assert len(receivers.called) == 100, "the others stay in the outbox"
