"""An answer on its three ways: to the caller who waits, to storage, and past a caller who leaves: the same bytes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.jobs.job import Job, Status
from shared.pipeline import run
from shared.pipeline.relay import Relay
from shared.pipeline.rooms import rooms
from shared.pipeline.window import BrokenOffError, Window
from tests.support.app_in_process import App


async def read(window: Window, most: int | None = None) -> bytes:
    """What passes, to its end; or as far as a reader gets who leaves after about `most` bytes."""
    body = b""
    while piece := await asyncio.wait_for(window.take(), 30):
        body += piece
        if most is not None and len(body) > most:
            window.drop()
            break
    return body


async def answered(app: App, *, most: int | None = None, **fields: Any) -> tuple[Job, Relay, bytes]:
    """A job run for a reader of its answer: the job at its end, its relay, and what was read."""
    job = await app.begin(**fields)
    accepted = await (await rooms()).files(job.id).get_request()
    relay = Relay(streamed=bool(fields.get("stream")))

    async def work() -> Job:
        ended = await run.run_now(job, datetime.now(UTC) + timedelta(seconds=60), relay, accepted)
        await relay.over(None if ended.status is Status.SUCCEEDED else DarkroomError.from_row(dict(ended.error or {})))
        return ended

    running = asyncio.create_task(work())
    body = await read(relay.window, most)
    return await running, relay, body


def images_of(body: bytes, *, streamed: bool) -> list[str]:
    """The sha256 of each image a caller got."""
    if streamed:
        events = [block.split("data: ", 1)[1] for block in body.decode().split("\n\n") if "data: " in block]
        items = [json.loads(data) for data in events]
        items = [item for item in items if item["type"].endswith(".completed")]
    else:
        items = json.loads(body)["data"]
    return [hashlib.sha256(base64.b64decode(item["b64_json"])).hexdigest() for item in items]


async def stored_of(app: App, job: Job) -> list[str]:
    """The sha256 of each stored image, of its bytes as they lie in storage."""
    document = await app.document(job.id)
    return [hashlib.sha256(app.storage.read(image["blob"])).hexdigest() for image in document["images"]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("streamed", [False, True])
async def test_caller_storage_and_model_have_the_same_bytes_however_they_were_cut(
    app: App, streamed: bool, seed: int
) -> None:
    chance = random.Random(seed)
    app.model.behave(
        chunk_size=chance.choice([1_000, 4_096, 65_536]), transfer=chance.choice(["chunked", "content-length"])
    )
    fields: dict[str, Any] = {"n": chance.choice([1, 3]), "output_format": chance.choice(["png", "jpeg"])}
    if streamed:
        fields |= {"stream": True, "partial_images": chance.choice([0, 2])}
    job, relay, body = await answered(app, **fields)
    assert job.status is Status.SUCCEEDED
    made = [image["sha256"] for image in app.model.calls()[0]["images"]]
    assert await stored_of(app, job) == made
    assert images_of(body, streamed=streamed) == made
    assert relay.length in (None, len(body))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_caller_who_leaves_anywhere_changes_nothing_of_what_is_stored(
    app: App, streamed: bool, seed: int
) -> None:
    chance = random.Random(seed)
    app.model.behave(chunk_size=chance.choice([1_000, 65_536]))
    fields: dict[str, Any] = {"stream": True, "partial_images": 1} if streamed else {}
    job, _, body = await answered(app, most=chance.randrange(0, 500_000), n=2, **fields)
    assert job.status is Status.SUCCEEDED
    assert len(app.model.calls()) == 1
    made = [image["sha256"] for image in app.model.calls()[0]["images"]]
    assert await stored_of(app, job) == made
    assert body


async def test_an_answer_that_is_cut_reaches_no_caller_as_a_whole_one(app: App) -> None:
    app.model.fail({"cut_after_bytes": 200_000})
    with pytest.raises(BrokenOffError):
        await answered(app)


async def test_a_stream_that_is_cut_ends_with_an_error_event_behind_whole_events(app: App) -> None:
    app.model.fail({"cut_after_bytes": 900_000})
    job, _, body = await answered(app, stream=True, partial_images=2)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error["code"] == "outcome_unknown"
    *events, last = body.decode().removesuffix("\n\n").split("\n\n")
    assert all(json.loads(event.split("data: ", 1)[1])["type"].endswith(".partial_image") for event in events)
    assert events
    name, data = last.split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == "outcome_unknown"
    assert len(app.model.calls()) == 1


async def test_a_refusal_in_midstream_is_passed_on_and_fails_the_job_for_good(app: App) -> None:
    app.model.fail({"stream_error": "moderation_blocked"})
    job, _, body = await answered(app, stream=True, partial_images=1)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error["code"] == "moderation_blocked"
    assert body.count(b"event: error") == 1
    assert b'"code":"moderation_blocked"' in body


async def test_usage_of_a_stream_is_accounted_with_its_partial_images(app: App) -> None:
    job, _, body = await answered(app, stream=True, partial_images=2, n=2)
    told = [json.loads(block.split("data: ", 1)[1]) for block in body.decode().split("\n\n") if ".completed" in block]
    document = await app.document(job.id)
    assert document["usage"]["total_tokens"] == sum(event["usage"]["total_tokens"] for event in told)
    assert document["cost"]["amount"] is not None
