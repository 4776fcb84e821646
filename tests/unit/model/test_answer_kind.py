"""Documents and streams are told apart by what they begin with, however they are labelled and wherever they are cut."""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.model import client as model
from shared.model.answer_kind import told_apart
from shared.model.listening import Event
from shared.model.payload import Payload
from shared.settings import Deployment

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(40)
IMAGE = base64.b64encode(PNG).decode()
DOCUMENT = json.dumps({"created": 7, "data": [{"b64_json": IMAGE}]}).encode()
DATA = json.dumps({"type": "image_generation.completed", "b64_json": IMAGE, "created_at": 7})
STREAM = f"event: image_generation.completed\ndata: {DATA}\n\n".encode()
LABELS = ("application/json", "text/event-stream; charset=utf-8", "Text/Event-Stream", "text/plain", "text/html", "")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

DOCUMENTS = [DOCUMENT, b" \r\n\t" + DOCUMENT, BYTE_ORDER_MARK + DOCUMENT, BYTE_ORDER_MARK + b"\n" + DOCUMENT]
STREAMS = [
    STREAM,
    b"\r\n\n" + STREAM,
    BYTE_ORDER_MARK + STREAM,
    b": keep-alive\n\n" + STREAM,
    b":\n\n" + STREAM,
    STREAM.removeprefix(b"event: image_generation.completed\n"),
    b"id: 1\n" + STREAM,
    b"id\n" + STREAM,
    b"retry: 10\r\r" + STREAM,
    b"data\r\n\r\n" + STREAM,
]


async def chunks(body: bytes, cuts: Sequence[int]) -> AsyncIterator[bytes]:
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(body)]):
        yield body[begin:end]


class Heard:
    """A listener and sink that keeps what it is told."""

    keeps_partials = False

    def __init__(self) -> None:
        self.kinds: list[bool] = []
        self.raw = b""
        self.image = b""

    async def began(self, *, streamed: bool, length: int | None) -> None:
        self.kinds.append(streamed)

    async def part(self, raw: Sequence[bytes]) -> None:
        self.raw += b"".join(raw)

    async def event(self, event: Event) -> None:
        self.raw += b"".join(event.raw)

    async def ended(self) -> None:
        pass

    async def end(self, index: int) -> None:
        pass

    async def piece(self, first: int | bytes, data: bytes = b"") -> None:
        """Of the answer, as a listener is told; or of an image, as a sink is."""
        if isinstance(first, bytes):
            self.raw += first
        else:
            self.image += data


async def called(body: bytes, label: str, cuts: Sequence[int]) -> Heard:
    """What is heard of a call whose 200 has this body, labelled and cut in this way."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        return httpx.Response(200, headers={"content-type": label} if label else {}, content=chunks(body, cuts))

    async def token() -> str:
        return "Bearer token"

    async def nothing() -> AsyncIterator[bytes]:
        yield b"{}"

    heard = Heard()
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), trust_env=False) as http:
        deployment = Deployment(name="d", endpoint="https://example.com", deployment="d", model="gpt-image-1")
        payload = Payload("application/json", 2, nothing, images=1)
        await model.call(
            http,
            token,
            deployment,
            "generate",
            payload,
            heard,
            may_send=lambda: None,
            listener=heard,  # type: ignore[arg-type]
        )
    return heard


@pytest.mark.parametrize("label", ["application/json", "text/event-stream; charset=utf-8", ""])
async def test_an_answer_is_heard_byte_for_byte_however_it_is_labelled_and_cut(label: str) -> None:
    for streamed, bodies in ((False, DOCUMENTS), (True, STREAMS)):
        for body in bodies:
            for cut in range(len(body) + 1):
                heard = await called(body, label, [cut])
                assert (heard.kinds, heard.raw, heard.image) == ([streamed], body, PNG), (body[:20], cut)


@given(
    st.sampled_from([*DOCUMENTS, *STREAMS]),
    st.sampled_from(LABELS),
    st.lists(st.integers(0, 40), max_size=12),
)
async def test_the_same_holds_for_any_number_of_cuts(body: bytes, label: str, cuts: list[int]) -> None:
    heard = await called(body, label, cuts)
    assert (heard.kinds, heard.raw, heard.image) == ([body in STREAMS], body, PNG)


@given(st.binary(max_size=60), st.sampled_from(LABELS), st.lists(st.integers(0, 60), max_size=8))
async def test_no_byte_is_lost_or_added_by_looking(body: bytes, label: str, cuts: list[int]) -> None:
    _, again = await told_apart(chunks(body, [min(cut, len(body)) for cut in cuts]), label)
    assert b"".join([chunk async for chunk in again]) == body


@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"\xef\xbb", b"even", b"data", b"vendor: x\n\n", b"<html>", b" " * 4_500 + b"{}"]
)
async def test_what_begins_like_neither_is_taken_for_what_it_says_it_is(body: bytes) -> None:
    for label in LABELS:
        streamed, _ = await told_apart(chunks(body, range(1, len(body))), label)
        assert streamed is label.lower().startswith("text/event-stream")


async def test_no_more_is_read_than_tells() -> None:
    taken: list[bytes] = []

    async def coming() -> AsyncIterator[bytes]:
        for chunk in (b"\n", b"da", b"ta:", b"x"):
            taken.append(chunk)
            yield chunk

    streamed, again = await told_apart(coming(), "")
    assert streamed
    assert taken == [b"\n", b"da", b"ta:"]
    assert await anext(again) == b"\n"


async def test_a_connection_that_breaks_before_it_tells_is_a_cut_answer() -> None:
    async def coming() -> AsyncIterator[bytes]:
        yield b" "
        raise httpx.ReadError("gone")

    with pytest.raises(DarkroomError) as caught:
        await told_apart(coming(), "")
    assert caught.value.code == "response_cut"
