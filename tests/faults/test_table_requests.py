"""What the app asks of Table Storage: no query without partition and range, and no price that grows with the jobs.

Counted in requests and bytes by a recorder under the table client, not in seconds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions import jobs, timers
from shared.jobs.batch import Batch
from shared.jobs.job import Door, Status, new_id, new_job
from shared.jobs.records import row_of
from shared.jobs.rows import Rows
from shared.pipeline import announce, fan_out, listing, messages, retention, run, uploads
from shared.pipeline.rooms import rooms
from shared.platform import clients
from shared.settings import settings
from tests.support import batches, table_rows
from tests.support.app_in_process import CALLER, App, use_settings
from tests.support.doors import call
from tests.support.dropping import Folder
from tests.support.table_recorder import TableRecorder, recording

SUBMIT = b'{"prompt": "a lighthouse", "quality": "low"}'
FEW, MANY = 100, 20_000
SLACK = 16
"""Bytes by which answers that say the same may differ: times and ids have one width, ETags and numbers have not."""


@pytest.fixture
async def recorder(app: App) -> AsyncIterator[TableRecorder]:
    async with recording() as recorder:
        yield recorder


def store_ended(count: int, *, ahead: timedelta = timedelta(minutes=-1)) -> None:
    """`count` rows of ended jobs, a second apart, straight into the table; the newest is `ahead` of now."""
    now = datetime.now(UTC) + ahead

    def rows() -> Iterator[Mapping[str, Any]]:
        for age in range(count):
            made = now - timedelta(seconds=age)
            job = new_job(kind="generate", door=Door.JOBS, owner="key", now=made, request_hash="0" * 64)
            ended = job.moved(Status.RUNNING).moved(Status.SUCCEEDED, finished_at=made)
            yield {name: value for name, value in row_of(ended).items() if value is not None}

    table_rows.insert(settings().table_service_uri, "jobs", rows())


async def submit() -> str:
    answer = await call(jobs.submit_job, SUBMIT, headers={"content-type": "application/json"})
    assert answer.status_code == 202
    return str(answer.headers["location"])


async def poll(location: str) -> int:
    address, _, token = location.partition("?token=")
    answer = await call(jobs.poll_job, method="GET", path_params={"id": address.split("/")[-2]}, query={"token": token})
    return answer.status_code


async def each_cost(recorder: TableRecorder, *asked: Callable[[], Awaitable[Any]]) -> list[tuple[int, int, int]]:
    costs = []
    for ask in asked:
        with recorder.during() as part:
            await ask()
        part.check()
        costs.append(part.cost)
    return costs


async def test_submit_poll_and_lists_cost_the_same_with_a_hundred_jobs_and_with_twenty_thousand(
    recorder: TableRecorder,
) -> None:
    async def costs() -> list[tuple[int, int, int]]:
        location = await submit()
        return await each_cost(
            recorder,
            submit,
            lambda: poll(location),
            lambda: listing.page(CALLER, limit="20"),
            lambda: listing.page(CALLER, limit="100"),
            lambda: listing.page(CALLER, status="succeeded"),
            announce.send_due,
        )

    # Ahead of now, so that the pages that are compared are full of them and of nothing else.
    store_ended(FEW, ahead=timedelta(hours=1))
    few = await costs()
    store_ended(MANY - FEW, ahead=timedelta(hours=9))
    many = await costs()

    assert [requests for requests, _, _ in few] == [1, 1, 1, 1, 1, 1]
    for before, after in zip(few, many, strict=True):
        assert before[0] == after[0], "requests"
        assert abs(before[1] - after[1]) <= SLACK, "bytes sent"
        assert abs(before[2] - after[2]) <= SLACK, "bytes received"


async def test_no_query_of_a_job_from_its_submit_to_its_purge_is_a_scan(app: App, recorder: TableRecorder) -> None:
    location = await submit()
    job_id = location.split("/")[-2]
    await app.deliver(job_id)
    assert await poll(location) == 200
    for function, method, query in (
        (jobs.get_job, "GET", {}),
        (jobs.list_jobs, "GET", {"status": "succeeded"}),
        (jobs.cancel_job, "DELETE", {"purge": "true"}),
    ):
        answer = await call(function, method=method, path_params={"id": job_id}, query=query)
        assert answer.status_code == 200

    recorder.check()
    assert len(recorder.queries) == 2, "the list, and the subscriptions at the end: all else knows its row"


async def test_no_query_of_a_batch_an_upload_or_a_message_is_a_scan(app: App, recorder: TableRecorder) -> None:
    batch = await batches.post(batches.requests(3), key="order 1017")
    await batches.post(batches.requests(3), key="order 1017")
    await fan_out.work_at(batch["id"])
    for job_id in batches.jobs_of(app, batch["id"])[:2]:
        await app.deliver(job_id)
    await batches.get(batch["id"])
    await batches.cancel(batch["id"])
    await fan_out.work_at(batch["id"])
    folder = Folder(app.storage, "order 1017")
    folder.drop("request.json", {"kind": "generate", "prompt": "a lighthouse", "quality": "low"})
    await uploads.look(folder.name)
    await app.deliver(folder.job() or "")
    for body in (SUBMIT, b"no JSON"):
        await run.deliver(await messages.job_of(body, body.hex()))

    recorder.check()
    counts = (await batches.get(batch["id"]))["counts"]
    assert (counts["succeeded"], counts["canceled"], counts["total"]) == (2, 1, 3)
    assert len(app.model.calls()) == 4


async def test_no_query_of_a_timer_is_a_scan(
    app: App, recorder: TableRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.run()
    await app.submit()
    use_settings(monkeypatch, [], DEPLOYMENTS=os.environ["DEPLOYMENTS"], RETENTION_DAYS="30")
    monkeypatch.setattr(retention, "LEDGER_REACH", timedelta(days=3))
    doors = [door for door in vars(timers).values() if hasattr(door, "_function")]
    with recorder.during() as part:
        for door in doors:
            await door._function.get_user_function()(timer=None)
        await retention.remove_expired(now=datetime.now(UTC) + timedelta(days=40))

    part.check(pages=None)
    assert len(doors) >= 3
    assert {"'jobs'", "'uploads'"} <= {query.filter.split()[2] for query in part.queries if query.filter}


async def test_retention_reads_what_it_removes_and_not_what_stays(
    recorder: TableRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_settings(monkeypatch, [], DEPLOYMENTS=os.environ["DEPLOYMENTS"], RETENTION_DAYS="30")
    monkeypatch.setattr(retention, "LEDGER_REACH", timedelta(days=3))

    async def rows_read() -> int:
        with recorder.during() as part:
            await retention.remove_expired()
        return sum(query.rows for query in part.queries)

    store_ended(5)
    await retention.remove_expired()

    assert await rows_read() == 0


async def test_a_list_of_a_batch_is_one_query_and_a_read_for_each_of_its_jobs(recorder: TableRecorder) -> None:
    now = datetime.now(UTC)
    batch = Batch(new_id(now), "key", now, total=3)
    rows = Rows(clients.tables().get_table_client("jobs"))
    await rows.insert(batch.row())
    store = (await rooms()).store
    for index in range(3):
        job = await store.create(new_job(kind="generate", door=Door.BATCH, owner="key", now=now, batch=batch.id))
        await rows.insert({"PartitionKey": batch.id, "RowKey": f"c:{index:04d}", "job_id": job.id})
    store_ended(50)

    with recorder.during() as part:
        page = await listing.page(CALLER, batch=batch.id, limit="2")

    part.check()
    assert len(page["data"]) == 2
    assert (len(part.queries), len(part.requests)) == (1, 1 + 1 + 2)


async def test_a_query_without_a_range_does_not_pass_the_recorder(recorder: TableRecorder) -> None:
    store_ended(150)
    table = clients.tables().get_table_client("jobs")
    for wrong in ("status eq 'failed'", "PartitionKey eq 'jobs'", "PartitionKey eq 'jobs' and RowKey ge 'j:'"):
        with recorder.during() as part:
            assert len([row async for row in table.query_entities(wrong, results_per_page=50)]) in (0, 150)
        with pytest.raises(AssertionError, match="range"):
            part.check()

    with recorder.during() as part:
        assert len([row async for row in Rows(table).between("jobs", "j:", "j;")]) == 150
    part.check()
    with recorder.during() as part:
        pages = table.query_entities(
            "PartitionKey eq 'jobs' and RowKey ge 'j:' and RowKey lt 'j;'", results_per_page=50
        )
        assert len([row async for row in pages]) == 150
    with pytest.raises(AssertionError, match="page 3"):
        part.check()
