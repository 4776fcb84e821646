"""What a caller of a synchronous route is answered, and when: status, events, keep-alives, repeats, and the end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
from starlette.responses import Response

from functions import images, patience, streaming
from shared.images.request import ImageRequest
from shared.jobs.job import Status
from shared.model.listening import Event
from shared.pipeline.relay import Relay
from shared.pipeline.window import Window
from shared.platform import server_sent_events
from tests.support.app_in_process import App, deployment
from tests.support.doors import body_of, call
from tests.support.streams import refuse_at_the_end
from tests.support.waiting import eventually

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
    monkeypatch.setattr(server_sent_events, "KEEP_ALIVE_SECONDS", 0.1)
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
    monkeypatch.setattr(patience, "PATIENCE", 0.2)
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


async def test_nothing_keeps_a_stream_alive_in_the_middle_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent_events, "KEEP_ALIVE_SECONDS", 0.05)
    relay, event = Relay(streamed=True), b'event: image_generation.completed\ndata: {"b64_json":"QUJD"}\n\n'
    running = asyncio.create_task(asyncio.Event().wait())
    request = ImageRequest("generate", "a boat", "gpt-image-1")
    body = asyncio.create_task(body_of(streaming.events(relay, "1", request, running, {})))  # type: ignore[arg-type]
    await relay.began(streamed=True, length=None)
    await relay.part([event[:60]])
    await asyncio.wait([body], timeout=0.3)  # several times as long as a keep-alive is waited for
    await relay.event(Event("image_generation.completed", [event[60:]], {}))
    await relay.ended()
    assert event in await body
    running.cancel()


async def test_a_repeated_stream_is_not_cut_while_its_caller_reads(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await body_of(await ask(STREAM, idempotency_key="order 10"))
    again = await ask(STREAM, idempotency_key="order 10")
    monkeypatch.setattr(patience, "PATIENCE", 0.3)
    pieces = 0

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal pieces
        pieces += 1
        ended.append(message.get("more_body") is False)
        await asyncio.sleep(0.2)  # slower in all than the patience, and never slower than it

    ended: list[bool] = []
    again.background = None
    await again({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    assert pieces > 3
    assert ended[-1]


async def test_a_connection_that_breaks_behind_the_last_image_loses_nothing(app: App) -> None:
    whole = await body_of(await ask(STREAM))
    app.model.fail({"cut_after_bytes": len(whole)})
    response = await ask({**STREAM, "prompt": "a lighthouse "})
    body = await body_of(response)
    job = await app.ended(response.headers["x-darkroom-job"])
    assert [event["type"].rpartition(".")[2] for event in events_of(body)] == ["partial_image", "completed"]
    assert job.status is Status.SUCCEEDED


async def test_a_door_that_is_cancelled_leaves_its_job_running_and_nothing_in_memory(app: App) -> None:
    app.model.behave(latency_seconds=0.5)
    asking = asyncio.create_task(ask(REQUEST))
    await eventually(lambda: app.storage.live_jobs(), what="the job")
    asking.cancel()
    await asyncio.wait([asking])
    await eventually(lambda: not app.storage.live_jobs(), what="the end of the job")
    assert Window.unread == 0, "what the answer held is let go"
    assert len(app.model.calls()) == 1


async def test_a_refusal_behind_an_image_that_came_whole_is_not_booked_as_free(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_at_the_end(monkeypatch)
    response = await ask(STREAM)
    assert events_of(await body_of(response))[-1]["error"]["code"] == "moderation_blocked"
    job = await app.ended(response.headers["x-darkroom-job"])
    document = await app.document(job.id)
    assert job.status is Status.FAILED
    assert len(document["images"]) == 1
    assert float(document["cost"]["possibly_billed"]) > 0
    assert app.storage.outcomes(job.id) == ["unknown"]
    assert len(app.model.calls()) == 1
