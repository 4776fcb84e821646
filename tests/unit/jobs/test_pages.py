"""Pages of rows, and deletes that look before: against Azurite, and against a service that refuses a mark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from local.azurite import StorageAccount
from shared.errors import DarkroomError
from shared.jobs.rows import Mark, MarkRefused, Rows


@pytest.fixture
async def rows(azurite_environment: StorageAccount) -> AsyncIterator[Rows]:
    from azure.data.tables.aio import TableServiceClient
    from azure.identity.aio import ManagedIdentityCredential

    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(azurite_environment.table, credential=credential) as service,
    ):
        yield Rows(service.get_table_client("jobs"))


def row(key: str, **values: Any) -> dict[str, Any]:
    return {"PartitionKey": "p", "RowKey": key, **values}


async def test_pages_follow_each_other_within_their_range(rows: Rows) -> None:
    for key in ("a:1", "a:2", "a:3", "b:1"):
        await rows.insert(row(key, kind="x", size=7))
    await rows.insert({"PartitionKey": "q", "RowKey": "a:2", "kind": "x"})

    first = await rows.page("p", "a:", "a;", size=2, select=("RowKey", "kind"))
    second = await rows.page("p", "a:", "a;", size=2, after=first.next)

    assert [dict(found) for found in first.rows] == [{"RowKey": key, "kind": "x"} for key in ("a:1", "a:2")]
    assert ([found["RowKey"] for found in second.rows], second.next) == (["a:3"], None)


async def test_a_page_has_only_what_is_asked_for(rows: Rows) -> None:
    for key, owner in (("1", "o'neill"), ("2", "x"), ("3", "o'neill")):
        await rows.insert(row(key, owner=owner, status="done"))

    page = await rows.page("p", "0", "9", size=10, where={"owner": "o'neill", "status": "done"})

    assert [found["RowKey"] for found in page.rows] == ["1", "3"]


async def test_a_row_that_changed_is_not_deleted_and_one_that_is_gone_is_gone(rows: Rows) -> None:
    etag = await rows.insert(row("1"))
    newer = await rows.replace(row("1", n=1), etag)

    assert not await rows.delete_unchanged("p", "1", etag)
    assert await rows.get("p", "1") is not None
    assert await rows.delete_unchanged("p", "1", newer)
    assert await rows.delete_unchanged("p", "1", newer)
    assert await rows.get("p", "1") is None


async def test_a_range_is_deleted_whole_and_nothing_beside_it(rows: Rows) -> None:
    for key in ("a", *(f"c:{index:04d}" for index in range(120)), "d"):
        await rows.insert(row(key))

    await rows.delete_range("p", "c:", "c;")
    await rows.delete_range("p", "c:", "c;")

    assert [found["RowKey"] async for found in rows.between("p", "0", "{")] == ["a", "d"]


class Refusing:
    """A table whose service answers every query with `status`."""

    def __init__(self, status: int) -> None:
        self._status = status

    def query_entities(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(by_page=lambda _mark: self)

    async def __anext__(self) -> Any:
        answer: Any = SimpleNamespace(status_code=self._status, reason="", headers={})
        raise HttpResponseError(message="no", response=answer)


async def test_a_mark_the_service_does_not_take_is_told_from_a_service_that_fails() -> None:
    mark = Mark("1!8!eA--", "1!8!eA--")
    with pytest.raises(MarkRefused):
        await Rows(Refusing(400)).page("p", "a", "b", size=1, after=mark)  # type: ignore[arg-type]
    for status, after in ((400, None), (503, mark)):
        with pytest.raises(DarkroomError, match=str(status)) as failed:
            await Rows(Refusing(status)).page("p", "a", "b", size=1, after=after)  # type: ignore[arg-type]
        assert failed.value.code == "storage_unavailable"
