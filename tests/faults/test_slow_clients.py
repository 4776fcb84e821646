"""Clients that send or take too slowly, seen from within the process that serves them: what it holds, and that it lets
go."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import httpx
import pytest

from functions import arriving, images, patience
from functions.arriving import Held
from functions.patience import PatientResponse
from shared.pipeline import window as windows
from shared.pipeline.window import Window
from tests.support.app_in_process import App, deployment
from tests.support.pictures import chunk, png
from tests.support.refusals import EDITS, GENERATIONS, GOOD, JOBS
from tests.support.waiting import eventually
from tests.support.wire import Wire, rest, serving

JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
LINES = "Content-Type: application/jsonl"
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
TEXT = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
BATCHES = "/api/batches"


@pytest.fixture
async def wire(app: App) -> AsyncIterator[Wire]:
    """The doors of `app`; when the test is over they are at rest."""
    async with serving() as wire:
        yield wire
        await eventually(lambda: not images._running, what="the end of the jobs")
        await eventually(lambda: Window.unread == 0 and Held.all_bytes == 0, what="memory that was let go")


def big_png(size: int) -> bytes:
    """A picture whose file has more than `size` bytes."""
    small = png()
    return small[:33] + chunk(b"juNk", bytes(size)) + small[33:]


async def error_on(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Status and error of the answer, which is the last on its connection."""
    head, _, body = (await rest(reader)).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]


# -- slow senders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "kind", "begun"),
    [
        (GENERATIONS[1], JSON, b'{"prompt":'),
        (JOBS, JSON, b""),
        (BATCHES, LINES, b'{"prompt":"a"}\n{"prom'),
        (EDITS[1], FORM, FILE + png(128, 128)[:-20]),
        (JOBS, FORM, TEXT + b"iVBORw0KGgo"),
    ],
    ids=["JSON", "nothing yet", "lines", "a file", "text of a form"],
)
async def test_a_body_that_stops_is_refused_and_leaves_nothing(
    app: App, wire: Wire, monkeypatch: pytest.MonkeyPatch, route: str, kind: str, begun: bytes
) -> None:
    monkeypatch.setattr(arriving, "SILENCE_SECONDS", 0.3)
    reader, writer = await wire.open(wire.head(route, kind, "Content-Length: 90000000"), begun)
    with closing(writer):
        status, error = await error_on(reader)
    assert (status, error["code"]) == (408, "request_timeout")
    assert "stopped" in error["message"]
    assert app.storage.blobs("requests") == []
    assert app.storage.rows("jobs") == []


async def test_a_body_that_trickles_for_ever_is_refused_in_the_end(
    app: App, wire: Wire, configure: Callable[..., None]
) -> None:
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="1")
    reader, writer = await wire.open(wire.head(EDITS[1], FORM, "Content-Length: 90000000"), FILE + png()[:-20])

    with closing(writer):
        answering = asyncio.create_task(error_on(reader))
        # Seldom: what meets a connection that is closed by then can cost a client the answer (RFC 9112, section 9.6).
        while not (await asyncio.wait({answering}, timeout=0.2))[0]:
            writer.write(b"x")
        status, error = answering.result()
    assert (status, error["code"]) == (408, "request_timeout")
    assert "did not end" in error["message"]
    assert app.storage.blobs("requests") == []


async def test_large_bodies_that_hang_together_are_bounded_and_small_ones_are_served_beside(
    app: App, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "HELD_BYTES", 1_000_000)
    head = wire.head(GENERATIONS[1], JSON, "Content-Length: 90000000")
    _, hanging = await wire.open(head, b'{"prompt":"' + b"x" * 900_000)
    await eventually(lambda: Held.all_bytes > 900_000, what="the body that hangs")
    reader, second = await wire.open(head, b'{"prompt":"' + b"x" * 200_000)
    with closing(second):
        status, error = await error_on(reader)
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    async with httpx.AsyncClient(base_url=wire.url, timeout=30) as client:
        assert (await client.post(GENERATIONS[1], json=GOOD)).status_code == 200
        hanging.close()
        await eventually(lambda: Held.all_bytes == 0, what="memory that was let go")
        refused = await client.post(GENERATIONS[1], json={**GOOD, "prompt": "x" * 1_200_000})
    assert refused.status_code == 400, "a body that is alone is read, whatever its size"
    assert len(app.model.calls()) == 1


# -- slow readers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "pause"), [(False, None), (False, 0.01), (True, None)])
async def test_a_caller_who_hardly_reads_is_dropped_and_its_job_is_stored(
    app: App, wire: Wire, monkeypatch: pytest.MonkeyPatch, stream: bool, pause: float | None
) -> None:
    """`pause`: the caller reads a byte, rests as long, and so on; None: it reads nothing."""
    monkeypatch.setattr(windows, "PATIENCE", 0.5)
    monkeypatch.setattr(windows, "WINDOW_BYTES", 2**20)
    picture = big_png(2_000_000)
    app.model.fail({"image_bytes_b64": base64.b64encode(picture).decode()})
    body = json.dumps({**GOOD, "n": 4, "stream": stream}).encode()
    reader, writer = await wire.open(wire.head(GENERATIONS[1], JSON, f"Content-Length: {len(body)}"), body)

    async def sip(pause: float) -> None:
        for _ in range(100_000):
            await reader.read(1)
            await asyncio.sleep(pause)

    with closing(writer):
        sipping = asyncio.create_task(sip(pause) if pause else asyncio.sleep(0))
        await eventually(lambda: app.storage.rows("jobs"), what="the job")
        await eventually(lambda: not app.storage.live_jobs(), what="the end of the job")
        sipping.cancel()
        got = await rest(reader)
    (job,) = {row["RowKey"][2:] for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")}
    assert (await app.job(job)).status == "succeeded"
    stored = [name for name in app.storage.blobs("results") if name.endswith(".png")]
    assert [app.storage.read(f"results/{name}") for name in stored] == [picture] * 4
    assert not got.endswith((b"0\r\n\r\n", b"}")), "a part of an answer was given out as the whole"
    assert Window.unread == 0


async def test_a_reader_who_takes_a_little_now_and_then_slows_the_model_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "ALL_PATIENCE", 0.3)
    window = Window()

    async def sip() -> None:
        while not window.gone.is_set():
            await window.take()
            await asyncio.sleep(0.05)

    async def fill() -> None:
        while not window.gone.is_set():
            await window.put([b"x" * windows.WINDOW_BYTES])

    await asyncio.wait_for(asyncio.gather(fill(), sip()), 20)
    assert Window.unread == 0


async def test_an_answer_from_storage_is_not_kept_for_who_does_not_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.05)
    sent: list[dict[str, Any]] = []
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(10):
                yield b"x" * 1000
        finally:
            closed.set()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 3:
            await asyncio.Event().wait()

    await PatientResponse(pieces()).stream_response(send)
    assert closed.is_set(), "the connection to storage is held on to"
    assert all(message.get("more_body", True) for message in sent), "it looks like the whole"
