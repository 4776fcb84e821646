"""A streamed answer of the images API, decoded while it arrives; the model client comes in by `decode_events`.

The images of completed events go to the sink, the listener is told of each event, and what comes back is what the same
answer would have said had it not been streamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import DarkroomError
from shared.model.decode import ImageSink, arriving
from shared.model.event_stream import MAX_HELD_BYTES, EventDecoder, Happened, ImageEnd, ImagePiece, Part
from shared.model.listening import Event, Listener

_ECHOES: Final = ("background", "output_format", "quality", "size")


class StreamedError(Exception):
    """The stream brought an `error` event; `error` is the service's object."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__()
        self.error = dict(error)


async def decode_events(
    chunks: AsyncIterable[bytes],
    sink: ImageSink,
    listener: Listener | None = None,
    *,
    images: int | None = None,
    max_held_bytes: int = MAX_HELD_BYTES,
) -> dict[str, Any]:
    """Feeds the images of completed events to `sink` and returns the answer they make up, each `b64_json` replaced by
    its image's index and the usages of the events added.

    A connection that breaks between two events takes nothing away once all `images` that were asked for are there.

    Raises `StreamedError` for an event that is an error, once the listener has heard it; unless it is the first of
    all, which is heard by nobody: an answer has not begun with it. Raises what `decode_images` raises for the rest.
    """
    answer = _Answer()
    decoder = EventDecoder(
        keep_partials=listener is not None and listener.keeps_partials, max_held_bytes=max_held_bytes
    )
    begun = False
    try:
        async for chunk in arriving(chunks):
            for happened in decoder.decode(chunk):
                begun = await _handle(happened, answer, sink, listener, begun=begun)
    except DarkroomError as error:
        whole = images is not None and len(answer.items) >= images and not decoder.within_event
        if error.code != "response_cut" or not whole:
            raise
    else:
        for happened in decoder.flush():
            begun = await _handle(happened, answer, sink, listener, begun=begun)
    if not answer.items:
        raise DarkroomError("response_without_images", "The model's answer held no image.")
    return answer.body()


async def _handle(
    happened: Happened, answer: _Answer, sink: ImageSink, listener: Listener | None, *, begun: bool
) -> bool:
    """Tell whom it concerns. Returns whether the listener knows that the answer has begun."""
    if isinstance(happened, ImagePiece):
        await sink.piece(len(answer.items), happened.data)
        return begun
    if isinstance(happened, ImageEnd):
        await sink.end(len(answer.items))
        answer.add(happened.members)
        return begun
    error = happened.error if isinstance(happened, Event) else None
    if error is not None and not begun:
        raise StreamedError(error)
    if listener is not None and not begun:
        await listener.began(streamed=True, length=None)
    if isinstance(happened, Part):
        if listener is not None:
            await listener.part(happened.raw)
        return True
    if listener is not None:
        await listener.event(happened)
    if error is not None:
        raise StreamedError(error)
    return True


@dataclass(slots=True)
class _Answer:
    """What the completed events of a stream say together."""

    items: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    echoes: dict[str, Any] = field(default_factory=dict)

    def add(self, members: Mapping[str, Any]) -> None:
        rest = {name: members[name] for name in members if name not in ("type", "created_at", "usage", *_ECHOES)}
        self.items.append({"b64_json": len(self.items), **rest})
        if isinstance(members.get("usage"), dict):
            self.usage = _sum(self.usage, members["usage"])
        created = {"created": members["created_at"]} if "created_at" in members else {}
        self.echoes = {**created, **{name: members[name] for name in _ECHOES if name in members}}

    def body(self) -> dict[str, Any]:
        return {**self.echoes, "data": self.items, **({"usage": self.usage} if self.usage else {})}


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of tokens added, member by member."""
    total = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, dict):
            total[name] = _sum(before if isinstance(before, dict) else {}, value)
        elif isinstance(value, int) and isinstance(before, int):
            total[name] = before + value
        elif before is None:
            total[name] = value
    return total
