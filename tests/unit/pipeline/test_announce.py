"""The rounds of the outbox: what is due is sent, and nothing waits for what is slow."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

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


async def test_receivers_that_hang_hold_up_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [OutboxEntry(f"slow{number}", NOW, what=What.CALLBACK) for number in range(30)]
    event = OutboxEntry("job", NOW)
    outbox = FakeOutbox([*slow, event])
    answered = asyncio.Event()

    async def hang(room: object, entry: OutboxEntry) -> None:
        await answered.wait()

    async def take(room: object, entry: OutboxEntry) -> None:
        return None

    async def room() -> SimpleNamespace:
        return SimpleNamespace(outbox=outbox)

    monkeypatch.setattr(announce, "rooms", room)
    monkeypatch.setattr(announce, "_SENDERS", {What.CALLBACK: hang, What.EVENT: take})

    sending = asyncio.create_task(announce.send_due())
    await eventually(lambda: outbox.gone, what="the event")
    assert outbox.gone == [event]
    answered.set()
    assert await sending == 31
    assert len(outbox.gone) == 31
