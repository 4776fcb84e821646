"""Server-sent events of the images API out of a stream of bytes; `decode_events` comes in by `EventDecoder`.

1. `LineReader` cuts what comes into lines, wherever the network cut it.
2. `EventDecoder` puts lines together to events; the image in an event's data is decoded as it comes, by the scanner
   that also reads whole answers.

Framing: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import DarkroomError
from shared.model.decode import MAX_IMAGE_BYTES, MAX_IMAGES, Base64Decoder
from shared.model.listening import Event
from shared.model.scanner import JsonScanner, refuse_json

_IMAGE_PATH: Final[tuple[str | None, ...]] = ("b64_json",)
MAX_HELD_BYTES: Final = 8 * 2**20
"""A larger event is passed on in parts: it cannot be held back until it is known to be whole."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_NAME_BYTES: Final = 256
_DONE: Final = b"[DONE]"


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
        self._scanner = JsonScanner(_IMAGE_PATH)
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


_UNKNOWN, _DATA, _EVENT, _OTHER = range(4)
_KINDS: Final = {b"data": _DATA, b"event": _EVENT}
