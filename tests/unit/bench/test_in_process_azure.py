"""The storage in the bench's worker does what Table and Blob Storage do, and forgets what is over."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import in_process_azure, in_process_tables
from bench.in_process_azure import Blobs, Rest
from bench.in_process_tables import Table
from shared.errors import DarkroomError
from shared.jobs.rows import Change, RowChanged, RowExists, Rows
from shared.platform.blobs import BlobClient
from tests.unit.jobs.memory_table import MemoryTable

KEYS = st.sampled_from("abc")
CHANGES = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "delete"]), KEYS, st.booleans()),
    min_size=1,
    max_size=3,
    unique_by=lambda change: change[1],
)


class Witness:
    """Does to one table what the steps say, and tells what came of it in words that hold for any table."""

    def __init__(self, table) -> None:
        self.rows = Rows(table)
        self.etags: dict[str, str] = {}

    async def step(self, number: int, changes) -> object:
        asked = [
            Change(kind, {"PartitionKey": "p", "RowKey": key, "number": number}, self._etag(kind, key, current))
            for kind, key, current in changes
        ]
        try:
            told = await self.rows.commit(asked)
        except (RowChanged, RowExists) as refused:
            return type(refused)
        for (_, key, _), etag in zip(changes, told, strict=True):
            self.etags[key] = etag or "gone"
        return [etag is None for etag in told]

    async def all(self) -> list[dict]:
        return [dict(row) async for row in self.rows.between("p", "a", "c~")]

    def _etag(self, kind: str, key: str, current: bool) -> str | None:
        if kind == "delete" and not current:
            return None
        return self.etags.get(key, "none") if current else "another"


@given(steps=st.lists(CHANGES, max_size=12))
async def test_transactions_end_as_they_do_on_the_table_that_is_held_to_azurite(steps):
    ours, theirs = Witness(Table()), Witness(MemoryTable())
    for number, changes in enumerate(steps):
        assert await ours.step(number, changes) == await theirs.step(number, changes)
        assert await ours.all() == await theirs.all()


async def test_single_rows_are_held_to_their_conditions():
    rows = Rows(Table())
    row = {"PartitionKey": "p", "RowKey": "a", "number": 1}
    etag = await rows.insert(row)
    with pytest.raises(RowExists):
        await rows.insert(row)
    newer = await rows.replace({**row, "number": 2}, etag)
    with pytest.raises(RowChanged):
        await rows.replace(row, etag)
    assert await rows.get("p", "a") == ({**row, "number": 2}, newer)
    assert not await rows.delete_unchanged("p", "a", etag)
    assert await rows.delete_unchanged("p", "a", newer)
    assert await rows.get("p", "a") is None
    await rows.delete("p", "a")


async def test_a_page_holds_the_range_and_the_columns_that_were_asked_for():
    rows = Rows(Table())
    for key in "abcd":
        await rows.insert({"PartitionKey": "p", "RowKey": key, "status": "queued" if key < "c" else "it's over"})
    page = await rows.page("p", "b", "d", size=10, where={"status": "it's over"}, select=("RowKey",))
    assert [dict(row) for row in page.rows] == [{"RowKey": "c"}]
    assert page.next is None


async def test_rows_that_are_written_stay_and_the_others_are_forgotten(monkeypatch):
    monkeypatch.setattr(in_process_tables, "KEPT_ROWS", 10)
    table = Table()
    rows = Rows(table)
    etag = await rows.insert({"PartitionKey": "p", "RowKey": "running"})
    for number in range(100):
        await rows.insert({"PartitionKey": "p", "RowKey": f"ended-{number}"})
        etag = await rows.replace({"PartitionKey": "p", "RowKey": "running"}, etag)
    assert len(table) == 10


@pytest.fixture
async def blobs():
    async def authorize() -> str:
        return "Bearer token"

    async with httpx.AsyncClient(transport=Rest(Blobs())) as client:
        yield BlobClient(client, "https://in-process.blob.example", authorize)


async def test_a_small_blob_is_read_as_it_was_written(blobs):
    await blobs.put("requests/a/request.json", [b"{", b"}"], content_type="application/json", overwrite=True)
    async with await blobs.read("requests/a/request.json") as found:
        assert found.headers["content-type"] == "application/json"
        assert b"".join([chunk async for chunk in found.chunks()]) == b"{}"


async def test_a_blob_of_another_is_not_overwritten(blobs):
    await blobs.put("results/a/0.png", [b"one"], content_type="image/png", metadata={"sha256": "1"})
    await blobs.put("results/a/0.png", [b"one"], content_type="image/png", metadata={"sha256": "1"})
    with pytest.raises(DarkroomError):
        await blobs.put("results/a/0.png", [b"two"], content_type="image/png", metadata={"sha256": "2"})


async def test_a_large_blob_is_taken_and_not_kept(blobs):
    large = [b"x" * in_process_azure.KEPT_BYTES, b"y"]
    await blobs.put("results/a/0.png", large, content_type="image/png", metadata={"sha256": "1"})
    with pytest.raises(DarkroomError, match="no such blob"):
        await blobs.read("results/a/0.png")
    with pytest.raises(DarkroomError):
        await blobs.put("results/a/0.png", [b"z"], content_type="image/png", metadata={"sha256": "2"})
