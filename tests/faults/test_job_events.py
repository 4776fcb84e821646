"""Following a job while another process, or another instance, runs it: what its frontend is told, and what survives of
it whoever dies."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from functions import events
from shared.delivery.results import ResultWriter
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger
from shared.pipeline import cancel, following, job_events, purge
from shared.pipeline.rooms import rooms
from shared.platform import server_sent_events
from shared.platform.blobs import BlobClient
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.doors import call
from tests.support.dying import die_at
from tests.support.event_source import EventSource, Message
from tests.support.photographs import photograph
from tests.support.waiting import eventually

STREAMED = {"stream": True, "partial_images": 1}
BAD_IDS = ("1", "999999", "-1", "07", "1e3", "END", "x", " ", "٣", "9" * 13, "0\n")
PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"
END = "job.succeeded"
SLOW = 600_000.0
"""Bytes a second: partial images come one by one."""


@pytest.fixture(autouse=True)
def _ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(following, "LONGEST_PAUSE", 0.05)


async def ask(job_id: str, last_id: str | None = None) -> Any:
    """The answer of the route, whatever it is."""
    headers = {} if last_id is None else {"last-event-id": last_id}
    return await call(events.get_job_events, method="GET", path_params={"id": job_id}, headers=headers)


async def told(job_id: str, last_id: str = "") -> AsyncIterator[Message]:
    """The events of one connection, as a browser has them."""
    answer = await ask(job_id, last_id or None)
    assert answer.status_code == 200
    source = EventSource(last_id)
    async with aclosing(answer.body_iterator) as chunks:
        async for chunk in chunks:
            for message in source.feed(chunk):
                yield message


async def all_told(job_id: str, last_id: str = "") -> list[Message]:
    return [message async for message in told(job_id, last_id)]


def without_links(message: Message) -> tuple[str, str, Any]:
    """What of an event is the same whenever it is told: links are made for each answer."""
    return message.type, message.id, _unsigned(message.data)


def _unsigned(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: value.partition("?")[0] if name == "url" else _unsigned(value) for name, value in data.items()}
    return [_unsigned(value) for value in data] if isinstance(data, list) else data


async def fetched(url: str) -> bytes:
    async with httpx.AsyncClient(trust_env=True) as stranger:
        return (await stranger.get(url)).raise_for_status().content


async def test_a_picture_emerges_and_its_end_is_the_job_document(app: App) -> None:
    job = await app.run(stream=True, partial_images=2)
    answer = await ask(job.id)
    body = b"".join([chunk async for chunk in answer.body_iterator])
    source = EventSource()
    running, *partials, completed, end = source.feed(body)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], source.retry) == ("no-store", 1000)
    assert (running.type, running.id, running.data["id"]) == ("job.running", "0", job.id)
    assert [(one.type, one.data["partial_image_index"], one.data["index"]) for one in partials] == [
        (PARTIAL, 0, 0),
        (PARTIAL, 1, 0),
    ]
    for number, one in enumerate(partials):
        image = await fetched(one.data["url"])
        assert image == app.storage.read(one.data["blob"])
        assert (one.data["blob"], one.data["type"]) == (f"requests/{job.id}/partial-1-0-{number}.png", PARTIAL)
        assert (one.data["bytes"], one.data["content_type"]) == (len(image), "image/png")
    document = await app.document(job.id)
    assert (completed.type, end.type, end.id) == (COMPLETED, END, "end")
    [image] = document["images"]
    assert _unsigned(completed.data) == _unsigned(completed.data | image | {"type": COMPLETED})
    assert completed.data["usage"] == document["usage"]
    assert (await fetched(completed.data["url"])) == app.storage.read(image["blob"])
    assert _unsigned(end.data) == _unsigned(document)
    assert b"b64_json" not in body
    assert app.storage.results_of(job.id) == ["0.json", "0.png"]
    assert b"sig=" not in app.storage.read(f"requests/{job.id}/events"), "a link was stored"


async def test_a_follower_sees_partial_images_while_the_job_runs(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await app.submit(**STREAMED)
    seen, finish = asyncio.Event(), ResultWriter.finish

    async def when_seen(self: ResultWriter) -> Any:
        await asyncio.wait_for(seen.wait(), 20)
        return await finish(self)

    monkeypatch.setattr(ResultWriter, "finish", when_seen)
    runner = asyncio.create_task(app.deliver(job_id))
    types = []
    async for message in told(job_id):
        types.append(message.type)
        if message.type == PARTIAL:
            seen.set()

    assert (await runner).status == "succeeded"
    assert types == ["job.running", PARTIAL, COMPLETED, END]


async def test_whoever_was_cut_off_after_any_event_gets_exactly_the_others(app: App) -> None:
    job = await app.run(n=2, **STREAMED)
    whole = [without_links(message) for message in await all_told(job.id)]

    assert [kind for kind, _, _ in whole] == ["job.running", PARTIAL, PARTIAL, COMPLETED, COMPLETED, END]
    assert [data.get("index") for _, _, data in whole[1:-1]] == [0, 1, 0, 1]
    for position, (_, last_id, _) in enumerate(whole[:-1]):
        rest = [without_links(message) for message in await all_told(job.id, last_id)]
        assert rest == whole[position + 1 :]


async def test_whoever_has_the_end_is_told_to_stop_asking_and_an_id_that_no_event_had_is_refused_by_name(
    app: App,
) -> None:
    queued, job = await app.submit(**STREAMED), await app.run(**STREAMED)

    assert (await ask(job.id, "end")).status_code == 204
    for asked, last_id in ((queued, "end"), *((job.id, last_id) for last_id in BAD_IDS)):
        answer = await ask(asked, last_id)
        error = json.loads(answer.body)["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", "Last-Event-ID"), last_id
        assert "Leave it out" in error["message"]


async def test_an_edit_has_the_names_of_edits(app: App) -> None:
    source = {"data": base64.b64encode(photograph()).decode()}
    job = await app.run(images=[source], stream=True, partial_images=1)

    assert [message.type for message in await all_told(job.id)] == [
        "job.running",
        "image_edit.partial_image",
        "image_edit.completed",
        END,
    ]


async def test_a_job_that_streams_nothing_is_followed_by_its_row_and_writes_no_log(app: App) -> None:
    job = await app.run()

    assert [(message.type, message.id) for message in await all_told(job.id)] == [("job.running", "0"), (END, "end")]
    assert [message.type for message in await all_told(job.id, "0")] == [END]
    assert app.storage.requests_of(job.id) == ["request.json", "result.json"]


async def test_a_job_whose_caller_waits_for_the_stream_itself_writes_no_log(app: App) -> None:
    job = await app.run_now(**STREAMED)

    assert job.status == "succeeded"
    assert app.storage.requests_of(job.id) == ["request.json", "result.json"]
    assert [message.type for message in await all_told(job.id)] == ["job.running", END]


async def test_an_error_in_mid_stream_is_the_end_the_document_says(app: App) -> None:
    app.model.fail({"stream_error": "moderation_blocked"})
    job = await app.run(**STREAMED)
    *_, end = found = await all_told(job.id)

    assert [message.type for message in found] == ["job.running", PARTIAL, "job.failed"]
    assert end.data["error"]["code"] == "moderation_blocked"


async def test_a_job_that_was_canceled_in_the_queue_only_has_its_end(app: App) -> None:
    job_id = await app.submit(**STREAMED)
    await cancel.cancel(await app.job(job_id))

    assert [message.type for message in await all_told(job_id)] == ["job.canceled"]


async def test_a_purged_job_says_how_it_ended_and_nothing_of_it_is_left(app: App) -> None:
    job = await app.run(**STREAMED)
    last_id = (await all_told(job.id))[1].id
    assert {"events", "partial-1-0-0.png"} < set(app.storage.requests_of(job.id))
    await purge.purge(job)
    found = await all_told(job.id)

    assert app.storage.requests_of(job.id) == []
    assert [message.type for message in found] == ["job.running", END]
    assert (found[-1].data["images"], found[-1].data["request"]) == ([], {})
    assert found[-1].data["purged_at"]
    assert [message.type for message in await all_told(job.id, last_id)] == [END], "an id from before the purge"


async def test_a_long_wait_is_kept_alive_and_closed_in_time_and_goes_on_where_it_was(
    app: App, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    monkeypatch.setattr(server_sent_events, "KEEP_ALIVE_SECONDS", 0.1)
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="1")
    job_id = await app.submit(**STREAMED)
    source = EventSource()
    async for chunk in (await ask(job_id)).body_iterator:
        source.feed(chunk)

    assert (source.messages, source.last_id) == ([], "")
    assert source.comments >= 2
    await app.deliver(job_id)
    assert (await all_told(job_id))[-1].type == END


async def test_storage_that_fails_under_a_follower_ends_the_connection_and_loses_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await app.run(**STREAMED)
    whole = [without_links(message) for message in await all_told(job.id)]
    source, found = EventSource(), []
    with monkeypatch.context() as patch:
        room = await rooms()
        signed = []

        async def sign(_: object, blob: str) -> str:
            if signed:
                raise DarkroomError("storage_unavailable", "away")
            signed.append(blob)
            return blob

        patch.setattr(type(room.links), "sign", sign)
        async for chunk in (await ask(job.id)).body_iterator:
            found += [without_links(message) for message in source.feed(chunk)]
    assert len(found) == 2
    found += [without_links(message) for message in await all_told(job.id, source.last_id)]

    assert [one[:2] for one in found] == [one[:2] for one in whole]


# -- the runner --------------------------------------------------------------------------------------------------------


async def test_a_runner_killed_in_mid_stream_leaves_a_log_that_its_successor_goes_on_with(app: App) -> None:
    app.model.behave(bytes_per_second=SLOW)
    job_id = await app.submit(**STREAMED)
    process = app.start_runner(job_id, "deliver")
    log = f"requests/{job_id}/events"
    try:
        await eventually(lambda: "events" in app.storage.requests_of(job_id) and app.storage.read(log), what="a line")
    finally:
        process.kill()
        process.wait(10)
    app.model.behave(bytes_per_second=0)
    before = app.storage.read(log)
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    found = await all_told(job_id)

    assert (job.status, len(app.model.calls())) == ("succeeded", 2)
    assert app.storage.read(log).startswith(before)
    assert [(message.type, message.data.get("call")) for message in found] == [
        ("job.running", None),
        (PARTIAL, 1),
        (PARTIAL, 2),
        (COMPLETED, 2),
        (END, None),
    ]
    assert len({message.id for message in found}) == len(found)
    assert len({message.data["blob"] for message in found if message.type == PARTIAL}) == 2


@pytest.mark.parametrize(
    ("place", "name"),
    [(Ledger, "settle"), (Lease, "finish")],
    ids=["before they were written down", "after they were"],
)
async def test_stored_images_are_told_once_whichever_runner_ends_the_job(
    app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    job_id = await die_at(app, monkeypatch, place, name, "before", **STREAMED)
    job = await app.deliver(job_id)
    found = await all_told(job_id)

    assert (job.status, len(app.model.calls())) == ("succeeded", 1)
    assert [message.type for message in found] == ["job.running", PARTIAL, COMPLETED, END]
    assert found[-2].data["sha256"] == found[-1].data["images"][0]["sha256"]
    assert found[-2].data["size"] == "1024x1024"


async def _fails(*_: Any, **__: Any) -> Any:
    raise DarkroomError("storage_unavailable", "away")


async def _hangs(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("method", "fault"), [("create_appendable", _fails), ("append", _hangs)], ids=["fails", "hangs"]
)
async def test_a_log_that_cannot_be_written_harms_no_job(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str, fault: Any
) -> None:
    monkeypatch.setattr(BlobClient, method, fault)
    monkeypatch.setattr(job_events, "WRITE_SECONDS", 0.2)
    job = await app.run(**STREAMED)

    assert (job.status, app.storage.outcomes(job.id)) == ("succeeded", ["billed"])
    assert [message.type for message in await all_told(job.id)] == ["job.running", END]
    assert "written down no more" in caplog.text
    assert "lighthouse" not in caplog.text


async def test_a_job_waits_for_a_slow_log_no_longer_than_its_patience(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(BlobClient, "append", _hangs)
    monkeypatch.setattr(job_events, "WRITE_SECONDS", 600.0)
    monkeypatch.setattr(job_events, "PATIENCE", 0.3)
    async with asyncio.timeout(60):
        job = await app.run(stream=True, partial_images=3)

    assert job.status == "succeeded"
    assert "written down no more" in caplog.text


async def test_one_failure_leaves_a_gap_and_the_rest_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    put, failed = BlobClient.put, []

    async def fail_once(self: BlobClient, name: str, *args: Any, **kwargs: Any) -> None:
        if "/partial-" in name and not failed:
            failed.append(name)
            raise DarkroomError("storage_unavailable", "away")
        await put(self, name, *args, **kwargs)

    monkeypatch.setattr(BlobClient, "put", fail_once)
    job = await app.run(stream=True, partial_images=2)

    assert [message.type for message in await all_told(job.id)] == ["job.running", PARTIAL, COMPLETED, END]


async def test_a_runner_whose_lease_is_not_safe_writes_nothing_down(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await app.submit(**STREAMED)
    put, unsafe = JobFiles.put_result, []

    async def lose(self: JobFiles, result: Any) -> None:
        await put(self, result)
        unsafe.append(True)

    safe = Lease.safe
    monkeypatch.setattr(JobFiles, "put_result", lose)
    monkeypatch.setattr(Lease, "safe", lambda self: not unsafe and safe(self))
    await app.deliver(job_id)

    assert [message.type for message in await all_told(job_id)] == ["job.running", PARTIAL, END]


async def test_a_service_that_does_not_stream_is_told_of_when_its_images_are_stored(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(photograph()).decode()}], "size": "1024x1024"}
    app.model.fail({"status": 200, "body": body, "headers": {"content-type": "application/json"}})
    job = await app.run(**STREAMED)
    found = await all_told(job.id)

    assert [message.type for message in found] == ["job.running", COMPLETED, END]
    assert (found[1].data["created_at"], found[1].data["size"]) == (1, "1024x1024")
