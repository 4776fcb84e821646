"""Files dropped into a folder: one job whatever comes first, twice or late, and a note that says what is wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.job import Job, new_id
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.upload_folder import FolderChanged, UploadFolder
from shared.pipeline import messages, uploads
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import App
from tests.support.dropping import FILES, REQUEST, Folder, drop, jobs
from tests.support.pictures import good_mask, jpeg, png


@pytest.fixture
def folder(app: App) -> Folder:
    return Folder(app.storage, "order 1017")


async def run(app: App, folder: Folder) -> Job:
    """The folder's job, after it ran."""
    job_id = folder.job()
    assert job_id is not None
    return await app.deliver(job_id)


@pytest.mark.parametrize("order", list(itertools.permutations(FILES)))
async def test_files_in_any_order_each_announced_twice_are_one_job_once_all_are_there(
    app: App, folder: Folder, order: tuple[str, ...]
) -> None:
    for name in order:
        assert jobs(app) == []
        drop(folder, name)
        await uploads.look(folder.name)
        await uploads.look(folder.name)
    await uploads.look(folder.name)

    [row] = jobs(app)
    assert row["RowKey"] == f"j:{folder.job()}"
    assert (row["status"], row["owner"], row["door"], row["kind"]) == ("queued", "upload", "upload", "edit")
    assert app.storage.requests_of(folder.job() or "") == ["mask", "request.json", "source-0"]
    assert folder.files() == ["image.png", "job.json", "mask.png", "request.json"]


async def test_the_job_of_a_folder_runs_as_any_other(app: App, folder: Folder) -> None:
    drop(folder)
    await uploads.look(folder.name)
    job = await run(app, folder)

    assert job.status == "succeeded"
    assert (await app.document(job.id))["metadata"] == {"order": "1017"}
    assert len(app.model.calls()) == 1


async def test_looks_at_the_same_moment_make_one_job(app: App, folder: Folder) -> None:
    drop(folder)
    await asyncio.gather(*(uploads.look(folder.name) for _ in range(4)))
    await uploads.look(folder.name)

    assert len(jobs(app)) == 1
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == {folder.job()}


async def test_the_same_files_again_are_no_new_job(app: App, folder: Folder) -> None:
    drop(folder)
    await uploads.look(folder.name)
    first = folder.job()
    drop(folder)
    await uploads.look(folder.name)
    folder.take_away("job.json")
    await uploads.look(folder.name)

    assert len(jobs(app)) == 1
    assert folder.job() == first


async def test_the_same_files_again_run_anew_where_the_job_came_to_nothing(app: App, folder: Folder) -> None:
    drop(folder)
    await uploads.look(folder.name)
    await messages.give_up(json.dumps({"job_id": folder.job()}).encode(), "p1")
    await uploads.look(folder.name)
    drop(folder)
    await uploads.look(folder.name)

    assert sorted(row["status"] for row in jobs(app)) == ["failed", "queued"]


async def test_only_a_rewritten_request_makes_a_second_job_of_a_folder(app: App, folder: Folder) -> None:
    drop(folder)
    await uploads.look(folder.name)
    folder.drop("image.png", png(64, 64, "RGB", (200, 0, 0)))
    await uploads.look(folder.name)
    assert len(jobs(app)) == 1

    folder.drop("request.json", {**REQUEST, "prompt": "a harbour"})
    await uploads.look(folder.name)
    assert len(jobs(app)) == 2


async def test_another_folder_with_the_same_files_is_another_job(app: App, folder: Folder) -> None:
    other = Folder(app.storage, "2026/11/22/order 1018")
    for one in (folder, other):
        drop(one)
        await uploads.look(one.name)

    assert len(jobs(app)) == 2
    assert folder.job() != other.job()


async def test_up_to_sixteen_images_are_taken_in_the_order_they_are_named(app: App, folder: Folder) -> None:
    names = [f"{number} größe.jpg" for number in reversed(range(16))]
    folder.drop("request.json", {"prompt": "a lighthouse", "images": names, "quality": "low"})
    for number, name in enumerate(names):
        await uploads.look(folder.name)
        folder.drop(name, jpeg(64 + number, 64))
    await uploads.look(folder.name)
    accepted = await (await rooms()).files(folder.job() or "").get_request()

    assert [image.width for image in accepted.images] == list(range(64, 80))


async def test_a_folder_may_ask_for_a_new_picture(app: App, folder: Folder) -> None:
    folder.drop("request.json", {"kind": "generate", "prompt": "a lighthouse", "quality": "low"})
    await uploads.look(folder.name)
    job = await run(app, folder)

    assert (job.status, job.kind) == ("succeeded", "generate")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_a_request_in_the_encodings_of_windows_tools_is_read(app: App, folder: Folder, encoding: str) -> None:
    folder.drop("image.png", png())
    folder.drop("request.json", json.dumps({"prompt": "größer"}).encode(encoding))
    await uploads.look(folder.name)

    assert folder.job()


async def test_a_request_in_the_metadata_of_the_image(app: App, folder: Folder) -> None:
    folder.drop("mask.png", good_mask())
    await uploads.look(folder.name)
    folder.drop(
        "image.png",
        png(),
        Prompt=quote("ein Leuchtturm, größer"),
        mask="mask.png",
        quality="low",
        n="2",
        darkroom_metadata=quote('{"order": "1017"}'),
        mtime="1700000000",
        hdi_isfolder="false",
    )
    await uploads.look(folder.name)
    accepted = await (await rooms()).files(folder.job() or "").get_request()

    assert (accepted.request.prompt, accepted.request.n) == ("ein Leuchtturm, größer", 2)
    assert accepted.request.metadata == {"order": "1017"}
    assert accepted.mask is not None

    folder.drop("mask.png", good_mask())
    await uploads.look(folder.name)
    assert len(jobs(app)) == 1


async def test_an_image_without_a_prompt_waits_for_its_request(app: App, folder: Folder) -> None:
    folder.drop("image.png", png(), quality="low")
    await uploads.look(folder.name)

    assert jobs(app) == []
    assert folder.files() == ["image.png"]


async def away(*_: Any, **__: Any) -> Any:
    raise DarkroomError("storage_unavailable", "away")


async def stops(*_: Any) -> AsyncIterator[bytes]:
    yield b"\x89PNG"
    raise DarkroomError("storage_unavailable", "away")


@pytest.mark.parametrize(
    ("owner", "method", "fault"),
    [
        (UploadFolder, "files", away),
        (UploadFolder, "stream", stops),
        (JobFiles, "put_request", away),
        (JobStore, "create", away),
        (JobQueue, "submit", away),
        (UploadFolder, "leave", away),
    ],
)
async def test_a_look_that_dies_anywhere_is_made_up_for_by_the_next(
    app: App, folder: Folder, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, fault: Any
) -> None:
    monkeypatch.setattr(uploads, "CLAIM_LASTS", uploads.CLAIM_LASTS * 0)
    drop(folder)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fault)
        if method == "submit":
            await uploads.look(folder.name)  # accepted all the same: the timer sends another message
        else:
            with pytest.raises(DarkroomError):
                await uploads.look(folder.name)
    await uploads.look(folder.name)

    [row] = jobs(app)
    accepted = await (await rooms()).files(folder.job() or "").get_request()
    assert row["RowKey"] == f"j:{folder.job()}"
    assert app.storage.requests_of(folder.job() or "") == ["mask", "request.json", "source-0"]
    assert accepted.request.prompt == REQUEST["prompt"]


async def test_an_image_rewritten_after_a_look_died_is_no_second_job(
    app: App, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder)
    leave = UploadFolder.leave

    async def dies_after_the_job(self: UploadFolder, note: str, body: Any, facts: Any, **options: Any) -> str:
        if facts.get("state") == "accepted":
            return str(await away())
        return await leave(self, note, body, facts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(UploadFolder, "leave", dies_after_the_job)
        with pytest.raises(DarkroomError):
            await uploads.look(folder.name)
    folder.drop("image.png", png(64, 64, "RGB", (200, 0, 0)))
    await uploads.look(folder.name)

    assert len(jobs(app)) == 1


async def test_a_folder_claimed_by_a_look_that_may_still_live_is_looked_at_later(
    app: App, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder)
    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "create", away)
        with pytest.raises(DarkroomError):
            await uploads.look(folder.name)
    announced: list[tuple[str, float]] = []

    async def announce(_: Any, name: str, *, delay: float = 0.0, tries: int = 0) -> None:
        announced.append((name, delay))

    monkeypatch.setattr("shared.jobs.uploads.UploadQueue.announce", announce)
    await uploads.look(folder.name)

    assert jobs(app) == []
    assert announced == [(folder.name, 30.0)]


async def test_a_file_rewritten_while_it_is_read_has_its_folder_looked_at_again(
    app: App, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder)
    files = UploadFolder.files

    async def rewritten(self: UploadFolder) -> Any:
        found = await files(self)
        await asyncio.to_thread(folder.drop, "image.png", png(64, 64, "RGB", (200, 0, 0)))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(UploadFolder, "files", rewritten)
        with pytest.raises(FolderChanged):
            await uploads._look(await rooms(), (await rooms()).upload(folder.name), 0)
        await uploads.look(folder.name)
    assert jobs(app) == []
    assert app.storage.blobs("requests") == []

    await uploads.look(folder.name)
    assert len(jobs(app)) == 1


async def test_a_folder_that_was_handed_out_makes_jobs_of_whoever_asked_for_it(app: App) -> None:
    room = await rooms()
    job = await app.job(await app.submit())
    folder = Folder(app.storage, new_id(job.created_at))
    await room.upload_owners.remember(folder.name, "alice")
    drop(folder)
    await uploads.look(folder.name)

    assert (await app.job(folder.job() or "")).owner == "alice"
