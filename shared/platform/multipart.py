"""`multipart/form-data` read as it arrives: each part is handed on while the next bytes are still under way.

A thin asynchronous face of python-multipart's push parser. Nothing here knows what the fields mean.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from shared.errors import DarkroomError

_MAX_HEADER_BYTES = 16 * 1024
_MAX_PARTS = 128


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a part: its field name, and file name and content type where it has them."""

    name: str
    filename: str | None
    content_type: str | None


class PartEnd:
    """The end of the current part."""


PART_END = PartEnd()
Event = Part | bytes | PartEnd


def boundary_of(content_type: str) -> bytes:
    """The boundary of a `multipart/form-data` content type. Raises `invalid_multipart` without one."""
    from python_multipart.multipart import parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise DarkroomError("invalid_multipart", "The Content-Type of a multipart body must carry its boundary.")
    return bytes(boundary)


async def parse(chunks: AsyncIterable[bytes], content_type: str) -> AsyncIterator[Event]:
    """Events of the body in order: a `Part`, its bytes in pieces, `PART_END`; then the next.

    Raises `invalid_multipart` when the body is malformed, ends early or has more than 128 parts.
    """
    from python_multipart.exceptions import FormParserError

    collector = _Collector(boundary_of(content_type))
    try:
        async for chunk in chunks:
            collector.feed(bytes(chunk))
            while collector.events:
                yield collector.events.popleft()
    except FormParserError as error:
        raise DarkroomError("invalid_multipart", "The multipart body is malformed.") from error
    if not collector.ended:
        raise DarkroomError("invalid_multipart", "The multipart body ends before its closing boundary.")


class _Collector:
    """Turns the parser's callbacks into a queue of events."""

    def __init__(self, boundary: bytes) -> None:
        from python_multipart.multipart import MultipartParser

        self.events: deque[Event] = deque()
        self.ended = False
        self._parts = 0
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise DarkroomError("invalid_multipart", f"The multipart body has more than {_MAX_PARTS} parts.")
        self._headers.clear()
        self._header_bytes = 0

    def _count_header(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise DarkroomError("invalid_multipart", "The headers of a part are too long.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if disposition != b"form-data" or not name:
            raise DarkroomError("invalid_multipart", "Each part needs Content-Disposition: form-data with a name.")
        filename = options.get(b"filename")
        content_type = self._headers.get(b"content-type")
        self.events.append(
            Part(
                name=name.decode("utf-8", "replace"),
                filename=filename.decode("utf-8", "replace") if filename is not None else None,
                content_type=content_type.decode("latin-1").split(";")[0].strip().lower() if content_type else None,
            )
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.events.append(data[start:end])

    def _part_end(self) -> None:
        self.events.append(PART_END)

    def _end(self) -> None:
        self.ended = True
