"""Streamed answers: every way an event may be framed and cut, and every way a stream may go wrong."""

import base64
import itertools
import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.model.events import StreamedError, decode_events
from shared.model.listening import Event

PNG = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(85)
SKETCH = b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(40)
USAGE = {"total_tokens": 60, "input_tokens": 10, "output_tokens": 50, "input_tokens_details": {"text_tokens": 10}}
NONE_IN = {"total_tokens": 50, "input_tokens": 0, "output_tokens": 50, "input_tokens_details": {"text_tokens": 0}}
ERROR = {
    "error": {"message": "No.", "type": "image_generation_user_error", "param": None, "code": "moderation_blocked"}
}


def event(name: str, members: dict[str, Any], *, named: bool = True, end: str = "\n") -> bytes:
    head = f"event: {name}{end}" if named else ""
    return f"{head}data: {json.dumps({'type': name, **members})}{end}{end}".encode()


def partial(image: bytes = SKETCH, number: int = 0, **framing: Any) -> bytes:
    members = {"partial_image_index": number, "b64_json": base64.b64encode(image).decode()}
    return event("image_generation.partial_image", members, **framing)


def completed(image: bytes = PNG, usage: dict[str, Any] = USAGE, **framing: Any) -> bytes:
    members = {"b64_json": base64.b64encode(image).decode(), "created_at": 7, "size": "1024x1024", "usage": usage}
    return event("image_generation.completed", members, **framing)


class Heard:
    """A listener that keeps all it is told."""

    def __init__(self, *, keeps_partials: bool = False) -> None:
        self.keeps_partials = keeps_partials
        self.begun = 0
        self.raw = b""
        self.events: list[Event] = []
        self.parts = 0
        self.has_ended = False

    async def began(self, *, streamed: bool, length: int | None) -> None:
        assert streamed
        assert length is None
        self.begun += 1

    async def piece(self, data: bytes) -> None:
        raise AssertionError("a stream is told event by event")

    async def part(self, raw: Sequence[bytes]) -> None:
        self.parts += 1
        self.raw += b"".join(raw)

    async def event(self, event: Event) -> None:
        self.events.append(event)
        self.raw += b"".join(event.raw)

    async def ended(self) -> None:
        self.has_ended = True


class Images:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.whole: list[bytes] = []
        self.current = b""

    async def piece(self, index: int, data: bytes) -> None:
        assert index == len(self.whole)
        self.current += data

    async def end(self, index: int) -> None:
        assert index == len(self.whole)
        self.whole.append(self.current)
        self.current = b""


async def stream(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def decoded(
    body: bytes, *cuts: int, listener: Heard | None = None, **caps: int
) -> tuple[dict[str, Any], Images, Heard]:
    listener, images = listener or Heard(), Images()
    ends = [0, *sorted(cuts), len(body)]
    chunks = [body[begin:end] for begin, end in itertools.pairwise(ends)]
    answer = await decode_events(stream(chunks), images, listener, **caps)
    return answer, images, listener


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_events_are_understood_wherever_the_network_cuts_them(end: str) -> None:
    body = b": hello\n\n" + partial(end=end) + completed(end=end)
    for cut in range(len(body) + 1):
        answer, images, heard = await decoded(body, cut)
        assert images.whole == [PNG]
        assert heard.raw == body
        assert [one.name for one in heard.events if one.name] == [
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert answer == {"created": 7, "size": "1024x1024", "data": [{"b64_json": 0}], "usage": USAGE}


@given(
    cuts=st.lists(st.integers(0, 600), max_size=40),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=3, max_size=3),
    named=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    held=st.sampled_from([1, 64, 10_000]),
)
async def test_what_the_listener_hears_is_what_came_byte_for_byte(
    cuts: list[int], ends: list[str], named: bool, mark: bytes, held: int
) -> None:
    body = mark + b"".join(
        (
            partial(named=named, end=ends[0]),
            completed(named=named, end=ends[1]),
            completed(SKETCH, NONE_IN, named=named, end=ends[2]),
        )
    )
    answer, images, heard = await decoded(body, *(min(cut, len(body)) for cut in cuts), max_held_bytes=held)
    assert heard.raw == body
    assert images.whole == [PNG, SKETCH]
    assert heard.begun == 1
    assert answer["usage"] == {
        "total_tokens": 110,
        "input_tokens": 10,
        "output_tokens": 100,
        "input_tokens_details": {"text_tokens": 10},
    }


@pytest.mark.parametrize("named", [True, False])
async def test_a_listener_that_keeps_partial_images_gets_them_decoded(named: bool) -> None:
    body = partial(named=named) + completed(named=named)
    _, _, heard = await decoded(body, 150, listener=Heard(keeps_partials=True))
    first, last = heard.events
    assert first.is_partial
    assert b"".join(first.image or ()) == SKETCH
    assert first.members["partial_image_index"] == 0
    assert "b64_json" not in first.members
    assert last.is_completed
    assert last.image is None


async def test_an_event_that_is_too_large_to_hold_is_told_in_parts_and_whole_all_the_same() -> None:
    body = partial() + completed()
    _, images, heard = await decoded(body, *range(0, len(body), 10), max_held_bytes=50)
    assert heard.parts > 5
    assert heard.raw == body
    for cut in range(2, 40):
        _, _, heard = await decoded(body, len(body) // 2, len(body) - cut, len(body) - 2, max_held_bytes=50)
        assert heard.parts
        assert heard.raw == body
        assert b"}" in b"".join(heard.events[-1].raw), "what is added to an event goes before its last brace"
    assert images.whole == [PNG]


async def test_what_is_no_event_of_images_passes_and_changes_nothing() -> None:
    strange = b"event: ping\ndata: not json\n\nid: 7\nretry: 5\n\ndata\n\n: note\n\n"
    body = strange + completed() + b"data: [DONE]\n\ndata: [DONE] \n\n"
    answer, images, heard = await decoded(body, 3, 17, 40)
    assert heard.raw == body
    assert images.whole == [PNG]
    assert len(answer["data"]) == 1


async def test_data_over_several_lines_is_one_document() -> None:
    text = json.dumps({"type": "image_edit.completed", "b64_json": base64.b64encode(PNG).decode()}, indent=1)
    body = b"".join(b"data: " + line.encode() + b"\n" for line in text.splitlines()) + b"\n"
    _, images, _ = await decoded(body, 5, 30)
    assert images.whole == [PNG]


async def test_filter_verdicts_of_an_event_stay_with_its_image() -> None:
    members = {"b64_json": base64.b64encode(PNG).decode(), "content_filter_results": {"hate": {"filtered": False}}}
    answer, _, _ = await decoded(event("image_generation.completed", members))
    assert answer["data"] == [{"b64_json": 0, "content_filter_results": {"hate": {"filtered": False}}}]


async def test_a_last_event_without_its_empty_line_is_not_lost_when_it_is_whole() -> None:
    whole = completed()
    _, images, heard = await decoded(whole.rstrip(b"\n"))
    assert images.whole == [PNG]
    assert heard.raw.endswith(b"}\n\n")


async def test_an_error_that_comes_first_is_an_answer_that_never_began() -> None:
    with pytest.raises(StreamedError) as raised:
        await decoded(event("error", ERROR), listener=(heard := Heard()))
    assert raised.value.error["code"] == "moderation_blocked"
    assert not heard.begun
    assert not heard.raw


async def test_an_error_in_midstream_is_heard_and_raised() -> None:
    body = partial() + event("error", ERROR)
    with pytest.raises(StreamedError) as raised:
        await decoded(body, listener=(heard := Heard()))
    assert raised.value.error["code"] == "moderation_blocked"
    assert heard.raw == body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "response_without_images"),
        (partial(), "response_without_images"),
        (partial()[:-40], "response_cut"),
        (event("image_generation.completed", {"b64_json": None}), "response_without_images"),
        (event("image_generation.completed", {"b64_json": "@@@@"}), "response_broken_base64"),
        (event("image_generation.completed", {"b64_json": "AAA"}), "response_broken_base64"),
        (b'event: image_generation.completed\ndata: {"b64_json":"AAAA","b64_json":5}\n\n', "response_not_json"),
        (b'event: image_generation.completed\ndata: {"b64_json":"AAAA"\n\n', "response_cut"),
        (b"data: hello, who is there\n\n", "response_not_json"),
        (completed(SKETCH) * 11, "response_too_large"),
    ],
)
async def test_a_stream_that_is_wrong_is_refused_by_what_is_wrong(body: bytes, code: str) -> None:
    with pytest.raises(DarkroomError) as raised:
        await decoded(body, 20)
    assert raised.value.code == code


async def test_a_connection_that_ends_in_midstream_is_a_cut_answer_with_its_first_images_kept() -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield completed() + partial()[:50]
        raise httpx.ReadError("gone")

    images, heard = Images(), Heard()
    with pytest.raises(DarkroomError) as raised:
        await decode_events(cut(), images, heard)
    assert raised.value.code == "response_cut"
    assert images.whole == [PNG]
    assert heard.raw == completed(), "no part of an event that never came whole"


@pytest.mark.parametrize("rest", [b"", b": bye\n\n", b"event: im"])
async def test_a_connection_that_ends_behind_all_images_that_were_asked_for_has_lost_none(rest: bytes) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield completed() + completed(SKETCH) + rest
        raise httpx.ReadError("gone")

    images, heard = Images(), Heard()
    answer = await decode_events(cut(), images, heard, images=2)
    assert len(answer["data"]) == 2
    assert images.whole == [PNG, SKETCH]
    assert heard.raw == completed() + completed(SKETCH)
    with pytest.raises(DarkroomError):
        await decode_events(cut(), Images(), Heard(), images=3)


async def test_a_connection_that_ends_within_an_event_is_cut_whatever_came_before() -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield completed() + completed(SKETCH)[:60]
        raise httpx.ReadError("gone")

    with pytest.raises(DarkroomError):
        await decode_events(cut(), Images(), Heard(), images=1)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (ERROR, "moderation_blocked"),
        ({"message": "No.", "code": "moderation_blocked"}, "moderation_blocked"),
        ({"error": "No."}, None),
        ({"error": {"code": "429", "message": "Wait."}}, "429"),
    ],
)
async def test_an_error_is_one_in_each_form_that_a_service_has(told: dict[str, Any], code: str | None) -> None:
    for first in (b"", partial()):
        with pytest.raises(StreamedError) as raised:
            await decoded(first + event("error", told))
        assert raised.value.error.get("code") == code
        assert raised.value.error["message"]


async def test_an_event_that_says_error_null_is_none() -> None:
    members = {"b64_json": base64.b64encode(PNG).decode(), "error": None}
    _, images, _ = await decoded(event("image_generation.completed", members))
    assert images.whole == [PNG]
