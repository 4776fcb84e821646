"""What can go wrong with a row has one name each, alone and in a transaction, in memory and on Azurite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.rows import Change, RowChanged, RowExists, Rows, escape_key, from_text, to_text


@pytest.fixture
def rows(tables):
    return Rows(tables("jobs"))


def row(key: str, **values):
    return {"PartitionKey": "p", "RowKey": key, **values}


async def test_a_row_reads_back_without_its_empty_values(rows):
    await rows.insert(row("a", text="ж", number=3, truth=True, nothing=None))
    found, _ = await rows.get("p", "a")
    assert dict(found) == row("a", text="ж", number=3, truth=True)
    assert await rows.get("p", "b") is None


async def test_a_key_is_taken_once(rows):
    await rows.insert(row("a"))
    with pytest.raises(RowExists):
        await rows.insert(row("a"))
    with pytest.raises(RowExists):
        await rows.commit([Change("insert", row("b")), Change("insert", row("a"))])
    assert await rows.get("p", "b") is None


async def test_a_replaced_row_keeps_nothing_of_the_old_one(rows):
    etag = await rows.insert(row("a", old=1))
    newer = await rows.replace(row("a", new=2), etag)
    assert await rows.get("p", "a") == (row("a", new=2), newer)


async def test_a_row_that_changed_or_went_is_not_replaced(rows):
    etag = await rows.insert(row("a"))
    await rows.replace(row("a", x=1), etag)
    with pytest.raises(RowChanged):
        await rows.replace(row("a", x=2), etag)
    with pytest.raises(RowChanged):
        await rows.commit([Change("insert", row("b")), Change("replace", row("a", x=2), etag)])
    await rows.delete("p", "a")
    with pytest.raises(RowChanged):
        await rows.replace(row("a", x=2), etag)
    assert await rows.get("p", "b") is None


async def test_a_transaction_gives_etags_that_hold(rows):
    etags = await rows.commit([Change("insert", row("a")), Change("insert", row("b"))])
    etags = await rows.commit([Change("replace", row("a", x=1), etags[0]), Change("delete", row("b"))])
    await rows.replace(row("a", x=2), etags[0])
    assert (await rows.get("p", "a"))[0]["x"] == 2


async def test_a_transaction_that_deletes_what_is_gone_does_nothing(rows):
    with pytest.raises(RowChanged):
        await rows.commit([Change("insert", row("a")), Change("delete", row("b"))])
    assert await rows.get("p", "a") is None


async def test_deleting_twice_is_as_good_as_once(rows):
    await rows.insert(row("a"))
    await rows.delete("p", "a")
    await rows.delete("p", "a")
    assert await rows.get("p", "a") is None


async def test_a_range_ends_before_its_end_and_at_its_limit(rows):
    for key in ("a:1", "a:2", "a:3", "b:1"):
        await rows.insert(row(key))
    await rows.insert({"PartitionKey": "q", "RowKey": "a:2"})
    assert [found["RowKey"] async for found in rows.between("p", "a:", "a;")] == ["a:1", "a:2", "a:3"]
    assert [found["RowKey"] async for found in rows.between("p", "a:2", "b:1", limit=1)] == ["a:2"]


@pytest.mark.parametrize("text", ["plain", "a/b\\c#d?e%f'g", "日本 \x00\n", "=2F"])
async def test_any_text_can_be_a_key_once_it_is_escaped(rows, text):
    key = escape_key(text)
    await rows.insert({"PartitionKey": key, "RowKey": key})
    assert await rows.get(key, key) is not None


@given(st.text(), st.text())
def test_two_texts_never_share_a_key(one, other):
    assert (escape_key(one) == escape_key(other)) == (one == other)
    assert not set(escape_key(one)) & set("/\\#?%' \n")


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)), st.integers(-12, 12))  # noqa: DTZ001
def test_times_survive_as_text_that_sorts(moment, hours):
    here = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert from_text(to_text(here)) == here
    assert to_text(here) < to_text(here + timedelta(microseconds=1))
    assert len(to_text(here)) == 27


def test_no_time_is_no_text():
    assert to_text(None) is None
    assert from_text(None) is None


async def test_a_missing_table_is_no_missing_row(azurite_environment):
    from azure.data.tables.aio import TableServiceClient
    from azure.identity.aio import ManagedIdentityCredential

    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(azurite_environment.table, credential=credential) as service,
    ):
        rows = Rows(service.get_table_client("nosuchtable"))
        for ask in (rows.get("p", "a"), rows.insert(row("a")), rows.replace(row("a"), 'W/"x"')):
            with pytest.raises(DarkroomError) as caught:
                await ask
            assert caught.value.code == "storage_unavailable"


def test_now_is_utc():
    from shared.jobs.rows import utc_now

    assert utc_now().tzinfo is UTC
