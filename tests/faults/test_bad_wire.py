"""Requests that are wrong below JSON: bodies too large, lengths that lie, connections that end in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from local.stack import Stack
from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import png
from tests.support.refusals import EDITS, GENERATIONS, GOOD, JOBS, error_of, leaves_nothing
from tests.support.storage import Storage
from tests.support.waiting import eventually
from tests.support.wire import Wire

LIMIT = 20_000
BODY = json.dumps(GOOD).encode()
MULTIPART = "multipart/form-data; boundary=b"


async def pieces(size: int) -> AsyncIterator[bytes]:
    """A chunked body that would be a prompt of `size` bytes."""
    yield b'{"prompt":"'
    for _ in range(size // 1_000):
        yield b"x" * 1_000
    yield b'"}'


async def test_a_body_over_the_limit_is_refused_however_it_is_sent(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(environ={"MAX_REQUEST_BYTES": str(LIMIT)}).info
    assert stack is not None
    storage = Storage(stack.blob, stack.table)
    headers = {"x-functions-key": stack.key, "content-type": "application/json"}
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + png() + bytes(LIMIT)
    async with (
        httpx.AsyncClient(base_url=stack.app, headers=headers, timeout=30) as client,
        leaves_nothing(client, ModelControl(stack.model), storage),
    ):
        for route in (*GENERATIONS, *EDITS, JOBS):
            declared = await client.post(route, content=b'{"prompt":"' + b"x" * LIMIT + b'"}')
            assert error_of(declared, status=413)["code"] == "request_too_large"
            chunked = await client.post(route, content=pieces(LIMIT))
            assert error_of(chunked, status=413)["code"] == "request_too_large"
        for route in (*EDITS, JOBS):
            declared = await client.post(route, content=form, headers={"content-type": MULTIPART})
            assert error_of(declared, status=413)["code"] == "request_too_large"
            chunked = await client.post(route, content=_in_pieces(form), headers={"content-type": MULTIPART})
            assert error_of(chunked, status=413)["code"] == "request_too_large"


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1_000):
        yield body[start : start + 1_000]


@pytest.fixture
def wire(stack: StackInfo) -> Wire:
    return Wire(stack.app, stack.key)


JSON = "Content-Type: application/json"


async def test_a_length_that_lies_or_is_none_is_refused(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    async with leaves_nothing(app_client, stack_model, stack_storage):
        # What the head alone is refused for is sent without a body: a server that closes with bytes unread resets the
        # connection, and its answer may be lost on the way.
        for lines, body in (
            ((JSON, "Content-Length: x"), b""),
            ((JSON, "Content-Length: -5"), b""),
            ((JSON, f"Content-Length: {len(BODY)}", f"Content-Length: {len(BODY) + 1}"), b""),
            ((JSON, "Content-Length: 99999999999999999999999999"), b""),
            ((JSON, f"Content-Length: {len(BODY) - 5}"), BODY[:-5]),
            ((JSON, "Transfer-Encoding: gzip"), b""),
            ((JSON, "X-Bad\0Header: x"), b""),
        ):
            answer = await wire.exchange(wire.head(GENERATIONS[1], *lines), body)
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), (lines, answer[:200])
            assert b"Traceback" not in answer
        answer = await wire.exchange(wire.head(JOBS, JSON, "Transfer-Encoding: chunked"), b"zz\r\nnot a chunk\r\n")
        assert answer.startswith(b"HTTP/1.1 400") or not answer, answer[:200]


async def test_a_client_that_leaves_within_its_request_leaves_nothing(
    wire: Wire, app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + png(512, 512)
    async with leaves_nothing(app_client, stack_model, stack_storage):
        for route in (*GENERATIONS, *EDITS, JOBS):
            await wire.leave(wire.head(route, JSON, "Content-Length: 1000"), BODY)
            await wire.leave(wire.head(route, JSON, "Transfer-Encoding: chunked"), b'5\r\n{"pro\r\n')
        for route in (*EDITS, JOBS):
            await wire.leave(
                wire.head(route, f"Content-Type: {MULTIPART}", "Content-Length: 9000000"), file, bytes(300_000)
            )
        await eventually(lambda: not _unfinished(stack_storage), what="the clearing of what was begun")


def _unfinished(storage: Storage) -> list[str]:
    """Sources in `requests/` whose request was never accepted."""
    names = storage.blobs("requests")
    accepted = {name.partition("/")[0] for name in names if name.endswith("/request.json")}
    return [name for name in names if name.partition("/")[0] not in accepted]
