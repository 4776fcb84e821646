"""A streamed answer of the images API, decoded while it arrives; the model client comes in by `decode_events`.

1. `LineReader` cuts what comes into lines, wherever the network cut it.
2. `EventDecoder` puts lines together to events; the image in an event's data is decoded as it comes, by the scanner
   that also reads whole answers.
3. `decode_events` gives the images of completed events to the sink, tells the listener of each event, and returns what
   the same answer would have said had it not been streamed.

Framing: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import DarkroomError
from shared.model.decode import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    Base64Decoder,
    ImageSink,
    arriving,
)
from shared.model.listening import Event, Listener
from shared.model.scanner import JsonScanner, refuse_json

EVENT_IMAGE_PATH: Final[tuple[str | None, ...]] = ("b64_json",)
MAX_HELD_BYTES: Final = 8 * 2**20
"""A larger event is passed on in parts: it cannot be held back until it is known to be whole."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_NAME_BYTES: Final = 256
_DONE: Final = b"[DONE]"
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


@dataclass(frozen=True, slots=True)
class ImagePiece:
    """Decoded bytes of a completed image."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Raw bytes of an event that is too large to be held."""

    raw: list[bytes]


@dataclass(frozen=True, slots=True)
class ImageEnd:
    """The end of a completed image; `members` are those of its event."""

    members: Mapping[str, Any]


Happened = ImagePiece | ImageEnd | Part | Event


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


class EventDecoder:
    """Handles a stream of events: pieces of completed images, parts of events too large to hold, and whole events."""

    def __init__(self, *, keep_partials: bool, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._keep_partials = keep_partials
        self._max_held = max_held_bytes
        self._lines = LineReader()
        self._completed = 0
        self._begin()

    def decode(self, chunk: bytes) -> Iterator[Happened]:
        for text, raw, ended in self._lines.decode(chunk):
            self._raw.append(raw)
            self._held += len(raw)
            yield from self._text(text)
            if ended:
                yield from self._end_line()
            elif self._held > self._max_held and len(self._raw) > 1:
                yield self._part()

    def flush(self) -> Iterator[Happened]:
        """The end of the stream. An event without the empty line behind it is taken when its data is whole: it may be
        an image that was paid for. Raises `response_cut` for one that is not."""
        for text, raw, _ in self._lines.flush():
            self._raw.append(raw)
            yield from self._text(text)
        if self._field:
            yield from self._end_line()
        if self._has_data:
            self._raw.append(b"\n\n")
            yield from self._end_event()
        elif self._raw:
            yield Event("", self._raw, {})

    @property
    def within_event(self) -> bool:
        """Whether some of the data of an event has come, and not all."""
        return self._has_data

    # -- an event --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._raw: list[bytes] = []
        self._held = 0
        self._name = b""
        self._field = b""
        self._kind = _UNKNOWN
        self._has_data = False
        self._data_head: bytearray | None = bytearray()
        self._scanner = JsonScanner(EVENT_IMAGE_PATH)
        self._base64 = Base64Decoder()
        self._pieces: list[bytes] = []
        self._size = 0
        self._images = 0

    def _part(self) -> Part:
        *raw, last = self._raw  # the end of the data stays with its event: the relay may have to add to it
        self._raw, self._held = [last], len(last)
        return Part(raw)

    def _text(self, text: bytes) -> Iterator[ImagePiece]:
        """More of the line at hand."""
        if self._kind is _UNKNOWN:
            self._field += text
            colon = self._field.find(b":")
            if colon < 0:
                if len(self._field) > _MAX_NAME_BYTES:
                    self._kind = _OTHER
                return
            name, text = self._field[:colon], self._field[colon + 1 :]
            self._field = name + b":"
            self._kind = _KINDS.get(name, _OTHER)
            self._space = True
            if self._kind is _DATA and self._has_data:
                yield from self._data(b"\n")
            self._has_data = self._has_data or self._kind is _DATA
            if self._kind is _EVENT:
                self._name = b""
        if not text:
            return
        if self._space:
            text, self._space = text.removeprefix(b" "), False
        if self._kind is _DATA:
            yield from self._data(text)
        elif self._kind is _EVENT:
            self._name = (self._name + text)[:_MAX_NAME_BYTES]

    def _end_line(self) -> Iterator[Happened]:
        empty = self._kind is _UNKNOWN and not self._field
        if self._kind is _UNKNOWN and self._field == b"data":  # a field without a colon has an empty value
            self._has_data = True
        self._field, self._kind = b"", _UNKNOWN
        if empty:
            if self._has_data:
                yield from self._end_event()
            else:
                self._name = b""  # what came so far were comments: they travel with the next event

    def _data(self, text: bytes) -> Iterator[ImagePiece]:
        if self._data_head is not None:
            self._data_head += text
            if len(self._data_head) <= len(_DONE) or self._data_head.startswith(_DONE):
                return
            text, self._data_head = bytes(self._data_head), None
        yield from self._json(text)

    def _json(self, text: bytes) -> Iterator[ImagePiece]:
        if not self._is_ours():
            return
        for part in self._scanner.decode(text):
            if part is None:
                self._base64.flush()
                self._scanner.mark(self._images)
                self._images += 1
                continue
            data = self._base64.decode(part)
            self._size += len(data)
            if self._size > MAX_IMAGE_BYTES:
                raise DarkroomError("image_over_cap", f"An image was larger than {MAX_IMAGE_BYTES} bytes.")
            if not data or self._images:
                continue
            if self._name.endswith(b".completed"):
                yield self._piece(data)
            elif self._keep_partials or not self._name:
                self._pieces.append(data)

    def _is_ours(self) -> bool:
        """Whether the data is to be understood: a kind of event that is not known is passed on as it is."""
        return not self._name or self._name == b"error" or self._name.endswith((b".completed", b".partial_image"))

    def _piece(self, data: bytes) -> ImagePiece:
        if self._completed == MAX_IMAGES:
            raise DarkroomError("response_too_large", f"The model's answer held over {MAX_IMAGES} images.")
        return ImagePiece(data)

    def _end_event(self) -> Iterator[Happened]:
        raw, pieces, head = self._raw, self._pieces, self._data_head
        if not self._is_ours() or (head is not None and (head.startswith(_DONE) or not head.strip())):
            name = self._name.decode(errors="replace")
            self._begin()
            yield Event(name, raw, {})
            return
        if head is not None:
            yield from self._json(bytes(head))
        members = self._scanner.flush()
        if not isinstance(members, dict) or self._images > 1 or (self._images and members.pop("b64_json") != 0):
            refuse_json("has an event with members that contradict each other")
        kind = members.get("type")
        name = self._name.decode(errors="replace") or (kind if isinstance(kind, str) else "")
        has_image = self._size > 0
        self._begin()
        if not name.endswith(".completed") or not has_image:
            yield Event(name, raw, members, pieces if name.endswith(".partial_image") and pieces else None)
            return
        for data in pieces:  # those that came before it was known what event this is
            yield self._piece(data)
        # The event first: the end of an image may wait for the one before it to be stored.
        yield Event(name, raw, members)
        yield ImageEnd(members)
        self._completed += 1


class LineReader:
    """Cuts a stream into lines ended by LF, CR or CRLF. Gives parts of lines: text, the same with its end, and whether
    the line is over."""

    def __init__(self) -> None:
        self._start = True
        self._head = b""
        self._after_cr = False

    def decode(self, chunk: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
        if self._start:
            self._head += chunk
            if _BYTE_ORDER_MARK.startswith(self._head) and len(self._head) < len(_BYTE_ORDER_MARK):
                return
            chunk, self._head, self._start = self._head, b"", False
            if chunk.startswith(_BYTE_ORDER_MARK):
                yield b"", _BYTE_ORDER_MARK, False
                chunk = chunk[len(_BYTE_ORDER_MARK) :]
        position = 0
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):  # the second half of an end that was cut in two
                yield b"", b"\n", False
                position = 1
        line_feed, carriage_return = chunk.find(b"\n", position), chunk.find(b"\r", position)
        while position < len(chunk):
            if 0 <= line_feed < position:
                line_feed = chunk.find(b"\n", position)
            if 0 <= carriage_return < position:
                carriage_return = chunk.find(b"\r", position)
            end = min((found for found in (line_feed, carriage_return) if found >= 0), default=-1)
            if end < 0:
                rest = chunk[position:]
                yield rest, rest, False
                return
            after = end + 1
            if end == carriage_return:
                if chunk[after : after + 1] == b"\n":
                    after += 1
                self._after_cr = after == len(chunk) and chunk[after - 1 : after] == b"\r"
            yield chunk[position:end], chunk[position:after], True
            position = after

    def flush(self) -> Iterator[tuple[bytes, bytes, bool]]:
        if self._head:
            yield self._head, self._head, False
            self._head = b""


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
        self.echoes = {
            "created": members.get("created_at"),
            **{name: members[name] for name in _ECHOES if name in members},
        }

    def body(self) -> dict[str, Any]:
        created = self.echoes.pop("created", None)
        head = {} if created is None else {"created": created}
        return {**head, **self.echoes, "data": self.items, **({"usage": self.usage} if self.usage else {})}


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


_UNKNOWN, _DATA, _EVENT, _OTHER = range(4)
_KINDS: Final = {b"data": _DATA, b"event": _EVENT}
