"""Messages of others on the queue: each is one job, however often it comes, and each refusal says why."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.pipeline import accept, messages, run
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import TAKE_OVER_SECONDS, App
from tests.support.pictures import png

REQUEST = {"prompt": "a lighthouse", "quality": "low", "metadata": {"order": "1017"}}


def plain(data: Any) -> bytes:
    return json.dumps(data).encode()


def encoded(data: Any) -> bytes:
    return base64.b64encode(plain(data))


async def delivered(app: App, body: bytes, message_id: str = "m1") -> Job:
    """The job of a message, after what the queue door does with it."""
    job_id = await messages.job_of(body, message_id)
    await run.deliver(job_id)
    return await app.job(job_id)


@pytest.mark.parametrize("form", [plain, encoded])
async def test_a_request_of_anybodys_becomes_a_job_and_runs(app: App, form: Callable[[Any], bytes]) -> None:
    job = await delivered(app, form(REQUEST))

    assert (job.status, job.owner, job.door) == ("succeeded", "queue", "queue")
    assert (await app.document(job.id))["metadata"] == {"order": "1017"}


async def test_a_message_that_comes_twice_is_one_job_and_one_call(app: App) -> None:
    first = await delivered(app, plain(REQUEST))
    again = await delivered(app, plain(REQUEST))
    same_id = [await delivered(app, plain({**REQUEST, "id": "order 1017"}), message) for message in ("m2", "m3")]

    assert again.id == first.id
    assert same_id[0].id == same_id[1].id != first.id
    assert len(app.model.calls()) == 2


async def test_an_id_used_for_another_request_is_refused_and_the_first_stays(app: App) -> None:
    first = await delivered(app, plain({**REQUEST, "id": "1"}))
    other = await delivered(app, plain({**REQUEST, "id": "1", "prompt": "another"}), "m2")

    assert first.status == "succeeded"
    assert (other.status, other.error and other.error["param"]) == ("failed", "id")
    assert len(app.model.calls()) == 1


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"not json", "invalid_json", None),
        (b"", "invalid_json", None),
        (b"[1]", "invalid_json", None),
        (plain({}), "missing_required_parameter", "prompt"),
        (plain({"prompt": "x", "seed": 1}), "unknown_parameter", "seed"),
        (plain({"prompt": "x", "n": "many"}), "invalid_type", "n"),
        (plain({"prompt": "x", "id": 7}), "invalid_value", "id"),
        (plain({"prompt": "x", "images": [{"data": "bm8gaW1hZ2U="}]}), "invalid_image", "images[0].data"),
        (plain({"job_id": "../../etc"}), "unknown_parameter", "job_id"),
    ],
)
async def test_a_message_that_can_be_no_job_is_a_failed_one_that_says_why(
    app: App, body: bytes, code: str, param: str | None
) -> None:
    job = await delivered(app, body)
    again = await delivered(app, body)

    assert job.error is not None
    assert (job.status, job.error["code"], job.error["param"]) == ("failed", code, param)
    assert again.id == job.id
    assert (await app.document(job.id))["error"]["code"] == code
    assert app.model.calls() == []
    assert app.storage.requests_of(job.id) == []
    assert [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("l:")] == []


async def test_a_message_whose_acceptance_died_half_way_is_accepted_when_it_comes_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise DarkroomError("storage_unavailable", "away")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "create", away)
        with pytest.raises(DarkroomError):
            await messages.job_of(plain(REQUEST), "m1")
    job = await delivered(app, plain(REQUEST))

    assert job.status == "succeeded"
    assert len(app.model.calls()) == 1


@pytest.mark.parametrize("state", ["waits", "runs"])
async def test_a_message_whose_source_is_gone_when_it_comes_twice_leaves_the_first_ones_job_alone(
    app: App, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    body = plain({"id": "1", "prompt": "a lighthouse", "images": [{"data": base64.b64encode(png()).decode()}]})
    understand, read, gone = accept.understand, asyncio.Event(), asyncio.Event()

    async def too_late(*given: Any, **named: Any) -> Any:
        await understand(*given, **named)
        read.set()
        await gone.wait()
        raise DarkroomError("source_not_readable", "gone", param="image")

    with monkeypatch.context() as patch:
        patch.setattr(accept, "understand", too_late)
        second = asyncio.create_task(messages.job_of(body, "m2"))
        await read.wait()
    first = await messages.job_of(body, "m1")
    if state == "runs":
        await (await rooms()).store.claim(first, "another runner")
    gone.set()

    assert await second == first
    job = await app.job(first)
    assert (job.status, job.error) == ({"waits": "queued", "runs": "running"}[state], None)
    assert app.storage.requests_of(first) == ["request.json", "source-0"]


async def test_a_poisoned_message_fails_its_job(app: App) -> None:
    job_id = await app.submit()
    await messages.give_up(plain({"job_id": job_id}), "p1")
    job = await app.job(job_id)

    assert (job.status, job.error and job.error["code"]) == ("failed", "undeliverable")


async def test_a_poisoned_message_leaves_a_job_alone_that_runs_or_has_ended(app: App) -> None:
    running = await app.begin()
    ended = await app.run()
    for job in (running, ended):
        await messages.give_up(plain({"job_id": job.id}), "p1")

    assert (await app.job(running.id)).status == "running"
    assert (await app.job(ended.id)).status == "succeeded"


async def test_a_poisoned_message_of_a_dead_runner_tells_the_ledger(app: App) -> None:
    app.model.fail({"hang_seconds": 60})
    job_id = await app.submit()
    async with app.killed_during_a_call(job_id, "deliver"):
        pass
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    await messages.give_up(plain({"job_id": job_id}), "p1")

    assert (await app.job(job_id)).status == "failed"
    assert app.storage.outcomes(job_id) == ["unknown"]


async def test_a_poisoned_message_of_a_strangers_is_a_failed_job_too(app: App) -> None:
    await messages.give_up(b"\xff\xfe", "p1")
    [row] = [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")]

    assert (row["status"], json.loads(row["error"])["code"]) == ("failed", "invalid_json")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@effort(max_examples=25)
@given(
    st.binary(max_size=60)
    | _JSON.map(plain)
    | st.dictionaries(st.sampled_from([*REQUEST, "id", "n"]), _JSON).map(plain)
)
async def test_no_message_makes_the_door_fail(body: bytes) -> None:
    """What is in a message never raises; only storage may (and is not asked here)."""
    seen: list[str] = []

    async def refused(key: str, error: DarkroomError) -> str:
        seen.append(error.code)
        return key

    async def accepted(key: str, message_id: str, data: Any) -> str:
        assert isinstance(data, dict)
        seen.append(messages._hash(data))
        return key

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_refused", refused)
        patch.setattr(messages, "_accepted", accepted)
        await messages.job_of(body, "m1")

    assert len(seen) == 1
