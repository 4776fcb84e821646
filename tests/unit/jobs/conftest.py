"""Fixtures of the jobs room: tables in memory and on Azurite, and a clock that stands until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.jobs.job import Door, new_job
from tests.unit.jobs.memory_table import MemoryTable

START = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


class Clock:
    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "azurite"])
async def tables(request):
    """Table clients by name: `tables("jobs")`. Every test that uses it runs in memory and against Azurite."""
    if request.param == "memory":
        made: dict[str, MemoryTable] = {}
        yield lambda name: made.setdefault(name, MemoryTable())
        return
    account = request.getfixturevalue("azurite_environment")
    from azure.data.tables.aio import TableServiceClient
    from azure.identity.aio import ManagedIdentityCredential

    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(account.table, credential=credential) as service,
    ):
        yield service.get_table_client


@pytest.fixture
def memory() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def make_job(clock):
    """A queued job of now, with what is given."""

    def make(**given):
        return new_job(**{"kind": "generate", "door": Door.JOBS, "owner": "key", "now": clock(), **given})

    return make
