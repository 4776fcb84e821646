"""The uploads door on the running stack: a program that only drops files, and events that come late, twice, anyhow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from local.state import StackInfo
from tests.support import peers
from tests.support.dropping import FILES, REQUEST, Folder
from tests.support.model_control import ModelControl
from tests.support.pictures import good_mask, png
from tests.support.requests import job, polled_to_its_end
from tests.support.storage import Storage
from tests.support.waiting import eventually

EVENTS = "/admin/_local/blob-events"


@pytest.fixture
def folder(stack: StackInfo) -> Folder:
    return Folder(Storage(stack.blob, stack.table), f"order {uuid4().hex}")


@pytest.fixture
async def unruly(app_client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Blob events of which every one comes twice, up to a second late, in any order."""
    wanted = {"duplicate": 1, "delay_seconds": [0, 1], "shuffle": True}
    (await app_client.put(EVENTS, json=wanted)).raise_for_status()
    yield app_client
    (await app_client.delete(EVENTS)).raise_for_status()


async def job_of(app: httpx.AsyncClient, folder: Folder) -> dict[str, Any]:
    """The document of the folder's job, once it has ended."""
    return await job(app, await eventually(folder.job, what="the folder's job"))


async def delivered(app: httpx.AsyncClient) -> bool:
    """Whether every event of what was dropped so far has been taken."""
    seen: dict[str, Any] = (await app.get(EVENTS)).json()
    return not (seen["waiting"] or seen["held"])


async def test_files_dropped_in_any_order_and_announced_twice_and_late_are_one_job_and_one_call(
    unruly: httpx.AsyncClient, stack: StackInfo, model: ModelControl, folder: Folder
) -> None:
    for name in random.sample(list(FILES), len(FILES)):
        await asyncio.to_thread(folder.drop, name, FILES[name])
    job = await job_of(unruly, folder)
    await eventually(lambda: delivered(unruly), what="the last event")

    assert (job["status"], job["owner"], job["kind"]) == ("succeeded", "upload", "edit")
    assert len(model.calls()) == 1
    told = await eventually(lambda: peers.events(stack, job["id"]), what="the job's event")
    assert {event["id"] for event in told} == {f"{job['id']}/succeeded"}


async def test_an_image_with_its_prompt_in_the_metadata_is_enough(
    app_client: httpx.AsyncClient, folder: Folder
) -> None:
    folder.drop("image.png", png(), prompt=quote("ein Leuchtturm bei Nacht, größer"), quality="low")
    job = await job_of(app_client, folder)

    assert job["status"] == "succeeded"
    assert job["request"]["prompt"] == "ein Leuchtturm bei Nacht, größer"


async def test_what_is_wrong_is_said_beside_the_files_and_as_an_event_and_can_be_put_right(
    app_client: httpx.AsyncClient, stack: StackInfo, folder: Folder
) -> None:
    folder.drop("image.png", png())
    folder.drop("request.json", {"prompt": "a lighthouse", "quality": "low", "seed": 1})
    note = await eventually(lambda: folder.note("error.json"), what="the note")
    # The topic may be told twice (at least once), always of one id.
    event = (await eventually(lambda: peers.events(stack, note["job"]), what="the event"))[0]

    assert (note["error"]["code"], note["error"]["param"]) == ("unknown_parameter", "seed")
    assert (event["type"], event["data"]["error"]["param"]) == ("Darkroom.Job.Failed", "seed")

    folder.drop("request.json", {"prompt": "a lighthouse", "quality": "low"})
    assert (await job_of(app_client, folder))["status"] == "succeeded"
    await eventually(lambda: folder.error() is None, what="the end of the note")


async def test_a_caller_uploads_by_links_and_the_folder_becomes_its_job(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    answer = await app_client.post("/api/uploads", json={"files": list(FILES)})
    assert answer.status_code == 201
    for file, data in zip(answer.json()["files"], (png(), good_mask(), b""), strict=True):
        if file["name"] != "request.json":
            assert peers.fetch(stack, "PUT", file["url"], content=data, headers=file["headers"]).status_code == 201
    folder = Folder(Storage(stack.blob, stack.table), answer.json()["folder"])

    named = [{"blob": file["blob"]} for file in answer.json()["files"]]
    edit = {"prompt": "a lighthouse", "quality": "low", "images": named[:1], "mask": named[1]}
    submitted = await app_client.post("/api/jobs", json=edit)
    assert submitted.status_code == 202, submitted.text
    assert (await polled_to_its_end(submitted.headers["location"]))["status"] == "succeeded"

    folder.drop("request.json", REQUEST)
    job = await job_of(app_client, folder)
    assert (job["status"], job["owner"]) == ("succeeded", "key")
