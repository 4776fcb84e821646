"""What a runner has at hand it does not ask storage for again, and what is told of the end is the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions import images
from shared.delivery import events
from shared.jobs.files import JobFiles
from shared.pipeline import read, run
from shared.pipeline.rooms import rooms
from shared.settings import settings
from tests.support.announcing import next_round
from tests.support.app_in_process import App, deployment
from tests.support.doors import body_of, call
from tests.support.table_recorder import recording


@pytest.fixture
def published(app: App, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The data of the events that a topic was given."""
    sent: list[Any] = []

    async def publish(_topic: object, event: Any) -> None:
        sent.append(event.data)

    monkeypatch.setattr(events, "publish", publish)
    monkeypatch.setenv("EVENTS__topicEndpointUri", "https://topic.example")
    settings.cache_clear()
    return sent


@pytest.fixture
def documents_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each document of a job was read."""
    read_so_far: Counter[str] = Counter()
    get: Callable[..., Awaitable[Any]] = JobFiles._get_json

    async def counted(self: JobFiles, name: str) -> Any:
        read_so_far[name] += 1
        return await get(self, name)

    monkeypatch.setattr(JobFiles, "_get_json", counted)
    return read_so_far


async def test_a_synchronous_job_reads_nothing_that_it_wrote(
    app: App, published: list[Any], documents_read: Counter[str]
) -> None:
    job = await app.begin()
    accepted = await (await rooms()).files(job.id).get_request()
    documents_read.clear()
    async with recording() as recorder:
        await run.run_now(job, datetime.now(UTC) + timedelta(minutes=2), None, accepted)

    read_rows = [one.path for one in recorder.requests if one.method == "GET" and "pacing" not in one.path]
    assert [path.rpartition("/")[2] for path in read_rows] == ["jobs()"], "the subscriptions"
    assert documents_read == {}
    assert len(published) == 1


async def test_a_caller_who_waits_for_storage_is_told_of_the_job_without_a_read(
    app: App, configure: Any, documents_read: Counter[str]
) -> None:
    configure([deployment(app.model.url)], COMPAT_WAIT_FOR_STORAGE="1")
    body = json.dumps({"prompt": "a lighthouse", "quality": "low"}).encode()
    response = await call(images.image_generations_v1, body, headers={"content-type": "application/json"})

    assert await body_of(response)
    assert response.headers["x-darkroom-cost"].endswith("USD")
    assert response.headers["x-darkroom-provenance"] == "valid"
    assert documents_read == {}


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (None, {"n": 2, "metadata": {"order": "1017"}}),
        (None, {"quality": "hd"}),
        ({"name": "moderation_blocked"}, {}),
    ],
    ids=["two images", "adapted", "refused"],
)
async def test_the_event_that_is_made_of_what_is_at_hand_is_that_of_what_is_stored(
    app: App, published: list[Any], fault: dict[str, Any] | None, fields: dict[str, Any]
) -> None:
    if fault:
        app.model.fail(fault)
    job = await app.run(**fields)

    stored = events.public(await read.document(await rooms(), job), with_prompt=False)
    assert published == [stored]
    assert bool(stored["adapted"]) == ("quality" in fields)


async def test_an_event_that_comes_later_is_made_of_what_is_stored_by_then(
    app: App, published: list[Any], monkeypatch: pytest.MonkeyPatch, documents_read: Counter[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("EVENTS__topicEndpointUri", "")
        settings.cache_clear()
        job = await app.run()
    settings.cache_clear()
    documents_read.clear()
    await next_round()

    assert [data["id"] for data in published] == [job.id]
    assert documents_read == {"request.json": 1, "result.json": 1}
