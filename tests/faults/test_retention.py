"""Retention: what is older than RETENTION_DAYS goes whole, nothing else does, and a run that was cut is made good."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.jobs.batch import Batch
from shared.jobs.expiry import Expiry
from shared.jobs.files import CONTAINER as REQUESTS
from shared.jobs.idempotency import row_of_key
from shared.jobs.job import Door, Job, Status, first_id_before, new_id, new_job, new_runner
from shared.jobs.rows import Rows
from shared.jobs.store import JobStore
from shared.pipeline import accept, retention
from shared.pipeline.retention import remove_expired
from shared.pipeline.rooms import rooms
from shared.platform import clients, folders
from tests.support.app_in_process import CALLER, App, use_settings

DAYS = 30
LATER = timedelta(days=DAYS, minutes=1)
CURSOR = ("timers", "retention")


@pytest.fixture(autouse=True)
def _kept_for_thirty_days(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    use_settings(monkeypatch, [], RETENTION_DAYS=str(DAYS), DEPLOYMENTS=os.environ["DEPLOYMENTS"])
    monkeypatch.setattr(retention, "LEDGER_REACH", timedelta(days=3))


def later(delta: timedelta = LATER) -> datetime:
    return datetime.now(UTC) + delta


def keys(app: App, table: str = "jobs") -> set[tuple[str, str]]:
    """What rows a table has, but for those that tell how far the timers are."""
    return {(row["PartitionKey"], row["RowKey"]) for row in app.storage.rows(table)} - {CURSOR}


async def clear_outbox(app: App) -> None:
    """As if the topic had taken every event."""
    rows = Rows(clients.tables().get_table_client("jobs"))
    for partition, key in keys(app):
        if key.startswith("o:"):
            await rows.delete(partition, key)


async def past_job(ended: datetime, *, created: datetime | None = None, **fields: Any) -> Job:
    """A job that ended at `ended`, in the table alone."""
    store = JobStore(clients.tables().get_table_client("jobs"), clock=lambda: ended)
    job = new_job(kind="generate", door=Door.JOBS, owner="key", now=created or ended, runner=new_runner(), **fields)
    job, entries = await store.finish(await store.create(job), Status.SUCCEEDED)
    for entry in entries:
        await (await rooms()).outbox.sent(entry)
    return job


async def test_an_old_job_goes_with_all_that_was_its_own(app: App) -> None:
    room = await rooms()
    intake = await accept.intake()
    row = row_of_key("order 7")
    accepted = await accept.understand(intake, CALLER, {"prompt": "a lighthouse", "quality": "low"}, kind=None)
    await room.idempotency.claim("key", "order 7", accepted.content_hash(), intake.files.job_id)
    job = await accept.enter(intake, accepted, CALLER, Door.JOBS, idempotency=row)
    await app.deliver(job.id)
    await clear_outbox(app)
    assert app.storage.results_of(job.id)

    removed = await remove_expired(now=later())

    assert removed["jobs"] == 1
    assert keys(app) == keys(app, "idempotency") == set()
    assert app.storage.blobs("requests") == app.storage.blobs("results") == []


async def test_the_ledger_of_a_day_goes_when_the_whole_day_is_too_old(app: App) -> None:
    await app.run()
    (row,) = app.storage.rows("ledger")
    end_of_day = datetime.strptime(row["PartitionKey"], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)

    await remove_expired(now=end_of_day + timedelta(days=DAYS) - timedelta(seconds=1))
    before = app.storage.rows("ledger")
    removed = await remove_expired(now=end_of_day + timedelta(days=DAYS))

    assert before == [row]
    assert removed["ledger days"] == 1, "days that were removed are not looked at again"
    assert app.storage.rows("ledger") == []


async def test_nothing_that_is_younger_goes(app: App) -> None:
    job = await app.run()
    before = keys(app), app.storage.blobs("requests"), app.storage.blobs("results"), keys(app, "ledger")

    removed = await remove_expired(now=later(timedelta(days=DAYS, minutes=-1)))

    assert "jobs" not in removed
    assert (keys(app), app.storage.blobs("requests"), app.storage.blobs("results"), keys(app, "ledger")) == before
    assert (await app.job(job.id)).status == "succeeded"


async def test_exactly_the_jobs_beyond_the_cutoff_go(app: App) -> None:
    now = datetime.now(UTC)
    ages = [0, 29, 29.999, 30.001, 31, 400, 4_000]
    made = {age: await past_job(now - timedelta(days=age)) for age in ages}

    await remove_expired(now=now)

    assert keys(app) == {("jobs", f"j:{made[age].id}") for age in ages if age < DAYS}


async def test_a_job_that_waited_long_counts_from_its_end(app: App) -> None:
    now = datetime.now(UTC)
    job = await past_job(now - timedelta(days=29), created=now - timedelta(days=31))

    await remove_expired(now=now)

    assert keys(app) == {("jobs", f"j:{job.id}")}


async def test_a_job_that_lives_stays_with_its_files_and_its_day_of_the_ledger(app: App) -> None:
    job_id = await app.submit()
    room = await rooms()
    claim = await room.store.claim(job_id, new_runner())
    assert claim.job is not None
    called = await room.store.begin_call(claim.job, "gpt-image-1")
    await room.ledger.start(called, model="gpt-image-1", facts={})

    await remove_expired(now=later(timedelta(days=4_000)))

    assert keys(app) == {("jobs", f"j:{job_id}"), ("jobs", f"l:{job_id}")}
    assert app.storage.outcomes(job_id) == ["started"], "whoever takes the job over must see that it was called"
    assert app.storage.requests_of(job_id) == ["request.json"]


async def test_without_the_setting_everything_is_kept(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    use_settings(monkeypatch, [], RETENTION_DAYS="", DEPLOYMENTS=os.environ["DEPLOYMENTS"])
    await past_job(datetime.now(UTC) - timedelta(days=4_000))
    before = keys(app)

    assert await remove_expired() == {}
    assert keys(app) == before


async def test_a_key_that_was_bound_to_another_job_since_stays(app: App) -> None:
    await past_job(datetime.now(UTC) - timedelta(days=40), idempotency=row_of_key("k"), request_hash="h")
    idempotency = (await rooms()).idempotency
    await idempotency.claim("key", "k", "h", new_id(datetime.now(UTC)))

    await remove_expired()

    assert keys(app, "idempotency") == {("key", row_of_key("k"))}
    assert keys(app) == set()


async def test_a_batch_goes_with_its_rows_and_its_blob(app: App) -> None:
    now = datetime.now(UTC)
    old, young, running = [
        Batch(new_id(made), "key", made, total=250, finished_at=ended)
        for made, ended in (
            (now - timedelta(days=40), now - timedelta(days=31)),
            (now - timedelta(days=40), now - timedelta(days=29)),
            (now - timedelta(days=40), None),
        )
    ]
    rows = Rows(clients.tables().get_table_client("jobs"))
    for batch in (old, young, running):
        await rows.insert(batch.row())
        for index in (0, 1, 249):
            await rows.insert({"PartitionKey": batch.id, "RowKey": f"c:{index:04d}", "job_id": new_id(now)})
        await clients.blobs().get_blob_client(REQUESTS, f"{batch.id}/batch.json").upload_blob(b"[]")

    removed = await remove_expired(now=now)

    assert removed["batches"] == 1
    assert {partition for partition, _ in keys(app)} == {"jobs", young.id, running.id}
    assert ("jobs", f"b:{old.id}") not in keys(app)
    assert app.storage.blobs("requests") == sorted(f"{batch.id}/batch.json" for batch in (young, running))


async def test_a_folder_that_was_handed_out_goes_with_its_files_and_a_strangers_stays(app: App) -> None:
    now = datetime.now(UTC)
    old, young = new_id(now - timedelta(days=31)), new_id(now - timedelta(days=29))
    rows = Rows(clients.tables().get_table_client("jobs"))
    for folder in (old, young):
        await rows.insert({"PartitionKey": "uploads", "RowKey": f"f:{folder}", "owner": "alice"})
    for folder in (old, young, "from the scanner"):
        await clients.blobs().get_blob_client("uploads", f"{folder}/image.png").upload_blob(b"x")

    await remove_expired(now=now)

    assert keys(app) == {("uploads", f"f:{young}")}
    assert app.storage.blobs("uploads") == sorted([f"{young}/image.png", "from the scanner/image.png"])


@pytest.mark.parametrize("dies_at", ["results", "requests", "row"])
async def test_a_run_that_died_is_made_good_by_the_next(
    app: App, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    job = await app.run()
    await clear_outbox(app)
    removing, removing_row = folders.remove, Expiry.remove_job

    class KilledError(Exception):
        pass

    async def remove(blobs: Any, container: str, folder: str) -> int:
        if container == dies_at:
            raise KilledError
        return await removing(blobs, container, folder)

    async def remove_row(self: Expiry, job: Job) -> None:
        if dies_at == "row":
            raise KilledError
        await removing_row(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "remove", remove)
        patch.setattr(Expiry, "remove_job", remove_row)
        with pytest.raises(ExceptionGroup):
            await remove_expired(now=later())
    between = keys(app)
    await remove_expired(now=later())

    assert between == {("jobs", f"j:{job.id}")}, "the row, by which the rest is found, goes last"
    assert keys(app) == set()
    assert app.storage.blobs("requests") == app.storage.blobs("results") == []


async def test_one_that_cannot_be_removed_does_not_keep_the_others(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, *_ = [await past_job(datetime.now(UTC) - timedelta(days=40 + n)) for n in range(5)]
    removing = folders.remove

    async def remove(blobs: Any, container: str, folder: str) -> int:
        if stuck.id in folder:
            raise DarkroomError("storage_unavailable", "Blob Storage failed.")
        return await removing(blobs, container, folder)

    monkeypatch.setattr(folders, "remove", remove)
    with pytest.raises(DarkroomError, match="Blob Storage failed"):
        await remove_expired()

    assert keys(app) == {("jobs", f"j:{stuck.id}")}


async def test_a_run_whose_time_is_over_stops_and_the_next_goes_on(app: App) -> None:
    jobs = [await past_job(datetime.now(UTC) - timedelta(days=40)) for _ in range(3)]

    nothing = await remove_expired(seconds=0)
    before = keys(app)
    await remove_expired()

    assert nothing == {}
    assert before == {("jobs", f"j:{job.id}") for job in jobs}
    assert keys(app) == set()


async def test_a_day_of_the_ledger_with_thousands_of_rows_goes_whole(app: App) -> None:
    table = clients.tables().get_table_client("ledger")
    day = (datetime.now(UTC) - timedelta(days=31)).date()
    for start in range(0, 1_200, 100):
        await table.submit_transaction(
            [
                ("create", {"PartitionKey": day.strftime("%Y%m%d"), "RowKey": f"{first_id_before(later())}-{n}"})
                for n in range(start, start + 100)
            ]
        )

    await remove_expired()

    assert keys(app, "ledger") == set()


async def test_two_timers_at_once_do_no_harm(app: App) -> None:
    await app.run()
    await clear_outbox(app)

    await asyncio.gather(*(remove_expired(now=later(timedelta(days=DAYS + 2))) for _ in range(3)))

    assert keys(app) == keys(app, "ledger") == set()
    assert app.storage.blobs("requests") == app.storage.blobs("results") == []
