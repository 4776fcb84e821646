"""The way of an answer to its caller: what passes, when its end does, and who is let go."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.model.listening import Event
from shared.pipeline import window as windows
from shared.pipeline.relay import Relay
from shared.pipeline.window import BrokenOffError, Window
from tests.support.waiting import eventually

DOCUMENT = json.dumps({"created": 1, "data": [{"b64_json": "QUJD"}], "usage": {"total_tokens": 3}}).encode() + b" \n"
FAILED = DarkroomError("outcome_unknown", "It did not arrive whole.")
ADAPTED = ({"field": "quality", "from": "hd", "to": "high"},)


async def read(window: Window) -> bytes:
    """All there is to read until the end."""
    body = b""
    while piece := await asyncio.wait_for(window.take(), 5):
        body += piece
    return body


def waiting(window: Window) -> bytes:
    """What has been put in and not been read."""
    return b"".join(window._pieces)


async def pass_document(relay: Relay, body: bytes, sizes: Sequence[int] = (7,)) -> None:
    await relay.began(streamed=False, length=len(body))
    position = number = 0
    while position < len(body):
        size = sizes[number % len(sizes)]
        await relay.piece(body[position : position + size])
        position, number = position + size, number + 1


def event(name: str, **members: Any) -> Event:
    raw = f"event: {name}\ndata: {json.dumps(members)}\n\n".encode()
    return Event(name, [raw[:9], raw[9:]], members)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
async def test_a_document_passes_byte_for_byte_however_it_came(sizes: list[int]) -> None:
    relay = Relay(streamed=False)
    await pass_document(relay, DOCUMENT, sizes)
    assert relay.length == len(DOCUMENT)
    await relay.ended()
    assert await read(relay.window) == DOCUMENT


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
async def test_what_was_adapted_is_said_at_the_end_and_counted_in_the_length(sizes: list[int]) -> None:
    relay = Relay(streamed=False, adapted=ADAPTED)
    await pass_document(relay, DOCUMENT, sizes)
    await relay.ended()
    body = await read(relay.window)
    assert json.loads(body) == {**json.loads(DOCUMENT), "darkroom": {"adapted": [dict(ADAPTED[0])]}}
    assert relay.length == len(body)


async def test_the_last_brace_waits_until_the_answer_is_understood() -> None:
    relay = Relay(streamed=False)
    await pass_document(relay, DOCUMENT)
    assert DOCUMENT.startswith(waiting(relay.window))
    assert b"}}" not in waiting(relay.window)
    await relay.over(FAILED)
    with pytest.raises(BrokenOffError):
        await read(relay.window)


async def test_the_last_brace_waits_for_storage_where_the_caller_is_to_find_all_stored() -> None:
    relay = Relay(streamed=False, until_stored=True)
    await pass_document(relay, DOCUMENT)
    await relay.ended()
    assert not relay.opened.is_set()
    assert waiting(relay.window) == DOCUMENT.rstrip()[:-1]
    await relay.over(None)
    assert relay.opened.is_set()
    assert await read(relay.window) == DOCUMENT


async def test_a_second_answer_is_not_put_behind_the_first() -> None:
    relay = Relay(streamed=False)
    await pass_document(relay, DOCUMENT[:20])
    await pass_document(relay, DOCUMENT)
    await relay.ended()
    await relay.over(None)
    with pytest.raises(BrokenOffError):
        await read(relay.window)


async def test_an_answer_of_the_other_kind_is_not_passed_on() -> None:
    relay = Relay(streamed=True)
    await pass_document(relay, DOCUMENT)
    await relay.ended()
    await relay.over(None)
    assert not relay.passes
    assert await read(relay.window) == b""


async def test_events_pass_each_as_it_comes() -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    first, last = event("image_generation.partial_image", a=1), event("image_generation.completed", b=2)
    await relay.event(first)
    assert waiting(relay.window) == b"".join(first.raw)
    await relay.event(last)
    await relay.ended()
    assert await read(relay.window) == b"".join((*first.raw, *last.raw))


async def test_the_completed_event_waits_for_storage_where_the_caller_is_to_find_all_stored() -> None:
    relay = Relay(streamed=True, until_stored=True)
    await relay.began(streamed=True, length=None)
    first, last = event("image_generation.partial_image", a=1), event("image_generation.completed", b=2)
    await relay.event(first)
    await relay.event(last)
    await relay.ended()
    assert waiting(relay.window) == b"".join(first.raw)
    await relay.over(FAILED)
    body = await read(relay.window)
    assert b"image_generation.completed" not in body
    assert b'"code":"outcome_unknown"' in body


async def test_a_completed_event_says_what_was_adapted() -> None:
    relay = Relay(streamed=True, adapted=ADAPTED)
    await relay.began(streamed=True, length=None)
    await relay.event(event("image_generation.partial_image", a=1))
    await relay.event(event("image_generation.completed", b=2))
    await relay.ended()
    partial, completed = (
        json.loads(part.split("data: ")[1]) for part in (await read(relay.window)).decode().split("\n\n")[:2]
    )
    assert partial == {"a": 1}
    assert completed == {"b": 2, "darkroom": {"adapted": [dict(ADAPTED[0])]}}


async def test_a_stream_that_fails_ends_with_one_error_event() -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    await relay.over(FAILED)
    name, data = (await read(relay.window)).decode().split("\n")[:2]
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {"type": "error", "error": FAILED.to_dict()}


async def test_an_error_the_service_told_itself_is_not_told_twice() -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    told = event("error", error={"code": "moderation_blocked"})
    await relay.event(told)
    await relay.over(FAILED)
    assert await read(relay.window) == b"".join(told.raw)


async def test_a_stream_that_ends_within_an_event_breaks_off_since_no_event_can_follow() -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    await relay.part([b"event: image_generation.completed\ndata: {"])
    await relay.over(FAILED)
    with pytest.raises(BrokenOffError):
        await read(relay.window)


async def test_a_reader_that_has_left_holds_nobody_up_and_keeps_no_memory() -> None:
    window, before = Window(), Window.unread
    await window.put([b"x" * 1000])
    window.drop()
    await window.put([b"x" * windows.WINDOW_BYTES * 2])
    assert Window.unread == before


async def test_an_answer_that_nobody_ever_began_to_send_counts_no_more() -> None:
    before = Window.unread
    relay = Relay(streamed=False)
    await pass_document(relay, DOCUMENT)
    await relay.ended()
    assert Window.unread > before
    del relay
    assert Window.unread == before


async def test_a_full_window_waits_for_its_reader() -> None:
    window = Window()
    await window.put([b"a" * windows.WINDOW_BYTES])
    more = asyncio.create_task(window.put([b"b" * windows.WINDOW_BYTES]))
    await eventually(window.full.is_set, what="a writer that waits")
    assert not more.done()
    assert await window.take() == b"a" * windows.WINDOW_BYTES
    await asyncio.wait_for(more, 5)
    assert not window.gone.is_set()
    window.drop()


async def test_a_reader_that_takes_nothing_is_dropped_and_the_writer_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windows, "PATIENCE", 0.05)
    window, before = Window(), Window.unread
    await window.put([b"a" * windows.WINDOW_BYTES])
    await asyncio.wait_for(window.put([b"b"]), 5)
    assert window.gone.is_set()
    assert Window.unread == before


async def test_all_windows_together_are_bounded_and_each_still_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ALL_WINDOWS_BYTES", 20 * 2**20)
    several = [Window() for _ in range(10)]
    piece = [b"x" * 2**20]

    async def fill(window: Window) -> None:
        for _ in range(20):
            await window.put(piece)

    writers = [asyncio.create_task(fill(window)) for window in several]
    await eventually(lambda: all(window.full.is_set() for window in several), what="windows that wait")
    assert Window.unread <= 30 * 2**20, "the bound, and the least that each may hold"
    for window in several:
        window.drop()
    await asyncio.gather(*writers)


async def test_a_reader_who_was_let_go_is_told_when_it_comes_back() -> None:
    window = Window()
    await window.put([b"one", b"two"])
    assert await window.take() == b"one"
    window.drop()
    with pytest.raises(BrokenOffError):
        await window.take()


async def test_a_reader_who_waits_is_told_that_it_was_let_go() -> None:
    window = Window()
    reading = asyncio.create_task(window.take())
    await asyncio.wait([reading], timeout=0.01)
    window.drop()
    with pytest.raises(BrokenOffError):
        await asyncio.wait_for(reading, 5)


async def test_what_comes_in_the_moment_in_which_patience_ends_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a keep-alive would go out in the middle of an event whose end has come."""
    window = Window()

    async def too_late(waited_for: Coroutine[Any, Any, Any], patience: float | None) -> None:
        waited_for.close()
        await window.put([b"the end of an event"])
        raise TimeoutError

    monkeypatch.setattr(windows.asyncio, "wait_for", too_late)
    assert await window.take(0.1) == b"the end of an event"


async def test_what_is_left_of_an_answer_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LAST_PATIENCE", -1.0)
    window, before = Window(), Window.unread
    await window.put([b"one"])
    window.close()
    with pytest.raises(BrokenOffError):
        await window.take()
    assert Window.unread == before


# -- a model that is asked again ---------------------------------------------------------------------------------------


async def test_an_error_of_the_service_goes_to_nobody_when_the_model_is_asked_again() -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    await relay.event(event("error", error={"code": "server_error"}))
    await relay.began(streamed=True, length=None)
    completed = event("image_generation.completed", b=2)
    await relay.event(completed)
    await relay.ended()
    await relay.over(None)
    assert await read(relay.window) == b"".join(completed.raw)


async def test_images_of_a_second_answer_do_not_follow_one_of_the_first() -> None:
    relay = Relay(streamed=True)
    first = event("image_generation.completed", b=1)
    await relay.began(streamed=True, length=None)
    await relay.event(first)
    for _ in range(2):
        await relay.began(streamed=True, length=None)
        await relay.event(event("image_generation.completed", b=2))
    await relay.ended()
    await relay.over(None)
    assert await relay.window.take() + await relay.window.take() == b"".join(first.raw)
    with pytest.raises(BrokenOffError):
        await relay.window.take()


async def test_an_image_of_the_first_answer_that_still_waits_for_storage_gives_way_to_the_second() -> None:
    relay = Relay(streamed=True, until_stored=True)
    second = event("image_generation.completed", b=2)
    for answer in (event("image_generation.completed", b=1), second):
        await relay.began(streamed=True, length=None)
        await relay.event(answer)
    await relay.ended()
    await relay.over(None)
    assert await read(relay.window) == b"".join(second.raw)


async def test_the_last_brace_of_an_answer_that_was_not_understood_never_passes() -> None:
    relay = Relay(streamed=False)
    await pass_document(relay, DOCUMENT)
    await relay.began(streamed=False, length=len(DOCUMENT))
    await relay.ended()
    await relay.over(None)
    assert b"}}" not in waiting(relay.window)
    assert len(waiting(relay.window)) < len(DOCUMENT.rstrip())


# -- the ends of streams -----------------------------------------------------------------------------------------------


async def test_what_follows_the_last_image_waits_for_storage_with_it() -> None:
    relay = Relay(streamed=True, until_stored=True)
    completed, done = event("image_generation.completed", b=2), Event("", [b"data: [DONE]\n\n"], {})
    await relay.began(streamed=True, length=None)
    await relay.event(completed)
    await relay.event(done)
    await relay.ended()
    assert not waiting(relay.window)
    await relay.over(None)
    assert await read(relay.window) == b"".join((*completed.raw, *done.raw))


async def test_the_end_of_a_large_event_that_waits_for_storage_is_never_followed_by_an_error_in_its_place() -> None:
    relay = Relay(streamed=True, until_stored=True)
    await relay.began(streamed=True, length=None)
    await relay.part([b'event: image_generation.completed\ndata: {"b64_json":"AAAA'])
    await relay.event(Event("image_generation.completed", [b'BBBB"}\n\n'], {}))
    await relay.ended()
    assert relay.within_event
    await relay.over(FAILED)
    with pytest.raises(BrokenOffError):
        await read(relay.window)


@pytest.mark.parametrize(
    "quiet", [event("image_generation.partial_image", error=None), event("error", type="error", code="server_error")]
)
async def test_an_event_that_clients_take_for_no_error_does_not_stand_for_one(quiet: Event) -> None:
    relay = Relay(streamed=True)
    await relay.began(streamed=True, length=None)
    await relay.event(quiet)
    await relay.over(FAILED)
    body = await read(relay.window)
    assert body.count(b"event: error") == 1
    assert b'"code":"outcome_unknown"' in body
