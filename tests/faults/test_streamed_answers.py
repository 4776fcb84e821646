"""What a caller of a synchronous route is answered, and when: status, events, keep-alives, repeats, and the end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
from starlette.responses import Response

from functions import images, streaming
from shared.jobs.job import Status
from tests.support.app_in_process import App, deployment
from tests.support.doors import body_of, call

REQUEST = {"prompt": "a lighthouse", "quality": "low"}
STREAM = {**REQUEST, "stream": True, "partial_images": 1}


async def ask(fields: dict[str, Any], **headers: str) -> Response:
    given = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await call(images.image_generations_v1, json.dumps(fields).encode(), headers=given)


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The data of each event; comments are none."""
    blocks = [block for block in body.decode().split("\n\n") if "data: " in block]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks]


async def test_a_stream_is_answered_with_the_services_events(app: App) -> None:
    response = await ask(STREAM)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    job_id = response.headers["x-darkroom-job"]
    partial, completed = events_of(await body_of(response))
    assert (partial["type"], completed["type"]) == ("image_generation.partial_image", "image_generation.completed")
    await app.ended(job_id)
    (stored,) = (await app.document(job_id))["images"]
    assert hashlib.sha256(base64.b64decode(completed["b64_json"])).hexdigest() == stored["sha256"]


@pytest.mark.parametrize("fields", [REQUEST, STREAM])
async def test_a_refusal_before_the_first_image_is_an_error_by_its_status(app: App, fields: dict[str, Any]) -> None:
    app.model.fail({"name": "moderation_blocked"})
    response = await ask(fields)
    assert response.status_code == 400
    assert json.loads(bytes(response.body))["error"]["code"] == "moderation_blocked"
    assert response.headers["x-should-retry"] == "false"


async def test_a_stream_that_takes_long_is_kept_alive_and_told_of_an_error_by_an_event(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_SECONDS", 0.1)
    app.model.behave(latency_seconds=1.0, faults=[{"name": "moderation_blocked", "hang_seconds": 1.0}])
    response = await ask(STREAM)
    assert response.status_code == 200
    body = await body_of(response)
    assert body.startswith(b": keep-alive\n\n: keep-alive\n\n")
    (error,) = events_of(body)
    assert error["type"] == "error"
    assert error["error"]["code"] == "moderation_blocked"


async def test_a_repeated_stream_is_answered_with_what_was_stored(app: App) -> None:
    first = await ask(STREAM, idempotency_key="order 8")
    *_, completed = events_of(await body_of(first))
    second = await ask(STREAM, idempotency_key="order 8")
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["x-darkroom-job"] == first.headers["x-darkroom-job"]
    (again,) = events_of(await body_of(second))
    assert {**again, "created_at": None} == {**completed, "created_at": None}
    assert len(app.model.calls()) == 1


async def test_whoever_waits_for_storage_finds_everything_there(app: App, configure: Any) -> None:
    configure([deployment(app.model.url)], COMPAT_WAIT_FOR_STORAGE="1")
    for fields in (REQUEST, STREAM):
        response = await ask(fields)
        body = await body_of(response)
        job = await app.job(response.headers["x-darkroom-job"])
        assert job.status is Status.SUCCEEDED
        assert body
    document = await ask(REQUEST)
    assert document.headers["x-darkroom-cost"].endswith("USD")
    assert document.headers["x-darkroom-provenance"] == "valid"


async def test_a_service_that_does_not_stream_is_made_up_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.model import payload

    fields = payload._fields
    monkeypatch.setattr(
        payload,
        "_fields",
        lambda *given: {
            name: value for name, value in fields(*given).items() if name not in ("stream", "partial_images")
        },
    )
    (completed,) = events_of(await body_of(await ask({**STREAM, "n": 1})))
    assert completed["type"] == "image_generation.completed"
    assert completed["usage"]["total_tokens"] > 0
    made = app.model.calls()[0]["images"][0]["sha256"]
    assert hashlib.sha256(base64.b64decode(completed["b64_json"])).hexdigest() == made


async def test_an_answer_that_breaks_off_has_no_end_and_a_repeat_learns_why(app: App) -> None:
    app.model.fail({"cut_after_bytes": 200_000})
    first = await ask(REQUEST, idempotency_key="order 9")
    with pytest.raises(ConnectionError):
        await body_of(first)
    again = await ask(REQUEST, idempotency_key="order 9")
    assert again.status_code == 502
    assert json.loads(bytes(again.body))["error"]["code"] == "outcome_unknown"
    assert len(app.model.calls()) == 1


async def test_a_caller_who_never_reads_is_dropped_and_its_job_is_not(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_LOOK_EVERY", 0.05)
    monkeypatch.setattr("shared.pipeline.window.PATIENCE", 0.2)
    response = await ask({**REQUEST, "n": 2})

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # a connection whose other end reads nothing

    response.background = None
    await asyncio.wait_for(response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 20)
    job = await app.ended(response.headers["x-darkroom-job"])
    assert job.status is Status.SUCCEEDED
    assert len((await app.document(job.id))["images"]) == 2
