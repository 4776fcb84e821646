"""Files of requests that were never accepted go, and nobody else's do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.batch import Batch
from shared.jobs.job import Door, new_id, new_job
from shared.jobs.leftovers import after, span_of
from shared.jobs.rows import Rows
from shared.pipeline import accept, leftovers
from shared.pipeline.rooms import rooms
from shared.platform import clients, folders
from tests.support.app_in_process import CALLER, App
from tests.support.photographs import photograph
from tests.support.table_recorder import recording

DAY = timedelta(days=1)
SPAN = timedelta(milliseconds=2**25)


async def put(name: str) -> None:
    await clients.blobs().get_blob_client("requests", name).upload_blob(b"x")


async def test_the_files_of_a_killed_post_go_and_a_jobs_stay(app: App) -> None:
    intake = await accept.intake()
    killed = intake.files.job_id
    await accept.understand(intake, CALLER, {"prompt": "p", "images": [_source()]}, kind=None)
    intake.close()  # as the end of a process does
    job_id = await app.submit()
    assert app.storage.requests_of(killed) == ["source-0"]

    early = await leftovers.remove(now=datetime.now(UTC) + DAY)
    removed = await leftovers.remove(now=datetime.now(UTC) + 4 * DAY)

    assert (early, removed) == (0, 1)
    assert app.storage.requests_of(killed) == []
    assert (await app.deliver(job_id)).status == "succeeded"


async def test_a_batch_a_stranger_and_a_folder_with_new_files_stay(app: App) -> None:
    now = datetime.now(UTC)
    made = now - 3 * DAY
    batch, job_id, claimed_again = new_id(made), new_id(made), new_id(made)
    rows = Rows(clients.tables().get_table_client("jobs"))
    await rows.insert(Batch(batch, "key", made, total=1).row())
    await (await rooms()).store.create(new_job(kind="generate", door=Door.JOBS, owner="key", now=made, id=job_id))
    names = [f"{folder}/request.json" for folder in (batch, job_id, claimed_again, f"{job_id[:20]} not an id")]
    for name in names:
        await put(name)

    assert await leftovers.remove(now=now) == 0
    assert app.storage.blobs("requests") == sorted(names)


async def test_the_requests_of_a_batch_that_is_still_worked_at_stay(app: App) -> None:
    made = datetime.now(UTC) - 3 * DAY
    # Its key was claimed by one who died: the batch has that one's id, and its requests a folder of their own.
    batch = Batch(new_id(made - DAY), "key", made, total=1, folder=new_id(made))
    await (await rooms()).batches.create(batch)
    await put(f"{batch.folder}/batch.jsonl")

    assert await leftovers.remove(now=datetime.now(UTC) + 3 * DAY) == 0
    assert app.storage.requests_of(batch.folder) == ["batch.jsonl"]


async def test_each_span_of_time_is_listed_once(app: App) -> None:
    now = datetime.now(UTC)
    await leftovers.remove(now=now)
    async with recording() as recorder:
        await leftovers.remove(now=now)
        again = len(recorder.queries)
        await leftovers.remove(now=now + SPAN)
        recorder.check()

    assert again == 0
    assert len(recorder.queries) == 3, "its jobs and its batches, and what is being worked at"


async def test_a_run_that_died_goes_on_with_the_span_it_was_at(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(f"{new_id(datetime.now(UTC))}/source-0")
    later = datetime.now(UTC) + 4 * DAY
    with monkeypatch.context() as patch:

        async def fail(*_: object) -> int:
            raise ConnectionError

        patch.setattr(folders, "remove", fail)
        with pytest.raises(ConnectionError):
            await leftovers.remove(now=later)

    assert await leftovers.remove(now=later) == 1


@given(st.datetimes(datetime(2024, 1, 1), datetime(2300, 1, 1)))  # noqa: DTZ001
def test_the_ids_of_a_moment_begin_with_its_span_and_the_next_span_follows_it(moment: datetime) -> None:
    time = moment.replace(tzinfo=UTC)

    assert new_id(time).startswith(span_of(time))
    assert span_of(time + SPAN) == after(span_of(time))


def _source() -> dict[str, str]:
    return {"data": base64.b64encode(photograph()).decode()}
