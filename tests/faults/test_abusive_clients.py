"""Clients that mean no good, against the whole stack: others are served, memory has bounds, and nothing is left behind.

What the process itself holds on to meanwhile is seen in `test_slow_clients.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import chunk, png
from tests.support.refusals import EDITS, GENERATIONS, GOOD, JOBS, leaves_nothing
from tests.support.storage import Storage
from tests.support.waiting import eventually
from tests.support.wire import Wire, rest

BODY = json.dumps(GOOD).encode()
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=b"
CHUNKED = "Transfer-Encoding: chunked"
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + png(256, 256)[:-20]
MEGABYTE = 2**20


@pytest.fixture
def wire(stack: StackInfo) -> Wire:
    return Wire(stack.app, stack.key)


async def asking(
    wire: Wire, route: str, fields: dict[str, Any], *lines: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = json.dumps(fields).encode()
    return await wire.open(wire.head(route, JSON, f"Content-Length: {len(body)}", *lines), body)


async def memory(client: httpx.AsyncClient) -> int:
    """Resident bytes of the host's worker."""
    (worker,) = (await client.get("/admin/host/status")).json()["workers"]
    return _resident(worker["pid"])


def _resident(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@asynccontextmanager
async def within(megabytes: int, client: httpx.AsyncClient, storage: Storage) -> AsyncIterator[None]:
    """What happens inside takes no more memory than this at its end, and leaves no job alive."""
    await eventually(lambda: not storage.live_jobs(), within=60, what="the end of the jobs before")
    assert (await client.post(GENERATIONS[1], json=GOOD)).status_code == 200
    before = await memory(client)
    yield
    grown = await memory(client) - before
    assert grown < megabytes * MEGABYTE, f"the worker has grown by {grown / MEGABYTE:.0f} MB"
    await eventually(lambda: not storage.live_jobs(), within=60, what="the end of the jobs")


async def is_served(client: httpx.AsyncClient) -> None:
    """Somebody else gets what they ask for."""
    assert (await client.get("/api/health")).status_code == 200
    submitted = await client.post(JOBS, json=GOOD)
    assert submitted.status_code == 202, submitted.text[:300]
    assert (await client.get(f"/api/jobs/{submitted.json()['id']}")).status_code == 200
    assert (await client.post(GENERATIONS[1], json=GOOD)).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the worker's memory in /proc")
async def test_two_hundred_open_streams_keep_nobody_from_being_served(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    """20 streams with a call each, 80 that repeat one of them, and 100 that follow a job."""
    async with within(200, app_client, stack_storage):
        picture = base64.b64encode(png(1024, 1024)).decode()
        stack_model.behave(latency_seconds=3.0, faults=[{"image_bytes_b64": picture, "times": 1000}])
        followed = (await app_client.post(JOBS, json={**GOOD, "stream": True})).json()["id"]
        with ExitStack() as open_connections:
            streams, followers = [], []
            for number in range(100):
                key = f"Idempotency-Key: {followed}-{min(number, 19)}"
                reader, writer = await asking(wire, GENERATIONS[1], {**GOOD, "stream": True}, key)
                streams.append(reader)
                open_connections.enter_context(closing(writer))
                reader, writer = await wire.open(wire.head(f"{JOBS}/{followed}/events", method="GET"))
                followers.append(reader)
                open_connections.enter_context(closing(writer))
            assert {await follower.readline() for follower in followers} == {b"HTTP/1.1 200 OK\r\n"}
            await is_served(app_client)
            answers = await asyncio.gather(*(rest(stream, within=60) for stream in streams))
        assert {answer.split(b"\r\n", 1)[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
        assert all(b"event: image_generation.completed" in answer for answer in answers)
        calls = [call for call in stack_model.calls() if call["parameters"].get("stream")]
        assert len(calls) == 21, "one for each key, and one for the job"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the worker's memory in /proc")
async def test_callers_who_take_nothing_slow_nobody_else_and_lose_no_job(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    small = png()
    picture = small[:33] + chunk(b"juNk", bytes(2 * MEGABYTE)) + small[33:]
    known = {row["RowKey"] for row in stack_storage.rows("jobs")}
    async with within(200, app_client, stack_storage):
        image = base64.b64encode(picture).decode()
        stack_model.fail({"image_bytes_b64": image, "times": 4})
        with ExitStack() as open_connections:
            for number in range(4):
                fields = {**GOOD, "prompt": f"lighthouse {number}", "n": 8, "stream": number % 2 == 0}
                _, writer = await asking(wire, GENERATIONS[1], fields)
                open_connections.enter_context(closing(writer))
            await eventually(lambda: sum(bool(call["fault"]) for call in stack_model.calls()) == 4, what="the calls")
            await is_served(app_client)
    rows = [row for row in stack_storage.rows("jobs") if row["RowKey"].startswith("j:") and row["RowKey"] not in known]
    assert {row["status"] for row in rows} == {"succeeded"}
    sizes = [len(stack_storage.results_of(row["RowKey"][2:])) for row in rows]
    assert sorted(sizes)[-4:] == [16, 16, 16, 16], "eight images and their sidecars each"


# Headers, body, and the status they are refused with.
LIES = {
    "less than comes": ((JSON, f"Content-Length: {len(BODY) - 5}"), BODY, 400),
    "none at all": ((JSON,), BODY, 400),
    "a length and chunks": ((JSON, "Content-Length: 5", CHUNKED), b"0\r\n\r\n" + BODY, 400),
    "chunks that say less than nothing": ((JSON, CHUNKED), b"-5\r\n" + BODY, 400),
    "chunks that are no chunks": ((FORM, CHUNKED), FILE, 400),
    "a form without an end": ((FORM, f"Content-Length: {len(FILE)}"), FILE, 400),
    "a form that is JSON": ((FORM, f"Content-Length: {len(BODY)}"), BODY, 400),
    "a form called JSON": ((JSON, f"Content-Length: {len(FILE)}"), FILE, 400),
    "packed, and not said so": ((JSON, "Content-Length: 20"), b"\x1f\x8b\x08" + bytes(17), 400),
    "packed": ((JSON, "Content-Encoding: gzip", "Content-Length: 20"), b"\x1f\x8b\x08" + bytes(17), 415),
}
# Whoever still owes bytes is waited for.
OWING = (
    ((JSON, "Content-Length: 1000"), BODY),
    ((FORM, "Content-Length: 90000000"), FILE),
    ((JSON, CHUNKED), b"ffffffffffffffff\r\n" + BODY),
    ((JSON, CHUNKED), b"%x\r\n%b" % (len(BODY), BODY)),
    ((JSON, "Content-Length: 90000000"), b""),
)


@pytest.mark.parametrize("route", [EDITS[1], JOBS])
async def test_a_body_that_lies_about_itself_is_refused_and_leaves_nothing(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage, route: str
) -> None:
    async with leaves_nothing(app_client, stack_model, stack_storage):
        for what, (lines, body, status) in LIES.items():
            answer = await wire.exchange(wire.head(route, *lines), body)
            # A server that closes with bytes unread resets the connection, and its answer may be lost on the way.
            assert answer.startswith(b"HTTP/1.1 %d" % status) or not answer, (what, answer[:200])
            assert b"Traceback" not in answer
        await eventually(lambda: _accepted(stack_storage), what="the clearing of what was begun")


async def test_uploads_that_stall_keep_nobody_from_being_served_and_leave_nothing(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    async with leaves_nothing(app_client, stack_model, stack_storage):
        with ExitStack() as open_connections:
            for number in range(60):
                lines, begun = OWING[number % len(OWING)]
                _, writer = await wire.open(wire.head((EDITS[1], JOBS)[number % 2], *lines), begun)
                open_connections.enter_context(closing(writer))
            assert (await app_client.get("/api/health")).status_code == 200
            assert (await app_client.get(JOBS)).status_code == 200
        await eventually(lambda: _accepted(stack_storage), what="the clearing of what was begun")


def _accepted(storage: Storage) -> bool:
    """Whether each folder of `requests` is that of a job."""
    names = storage.blobs("requests")
    folders = {name.partition("/")[0] for name in names}
    return folders == {name.partition("/")[0] for name in names if name.endswith("/request.json")}
