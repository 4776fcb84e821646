"""JSON read while it arrives, its largest strings handed on in parts; the response decoder comes in by `JsonScanner`.

The scanner knows at each byte where in the document it stands, so only a string at the one path asked for is taken for
an image, whatever other strings may hold. Small tokens cost one regular-expression match each; the long strings, which
are nearly all of an answer, cost one search for their closing quote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from shared.errors import DarkroomError
from shared.platform import strict_json

MAX_SKELETON_BYTES: Final = 2**20
MAX_DEPTH: Final = 64


class JsonScanner:
    r"""Handles JSON (RFC 8259) of which the strings at one path are too large to be kept.

    `decode` gives the text of those strings in parts, escapes undone (`\/` is legal for `/`, and some servers write
    it), and None where one ends; the caller then puts its `mark` in the skeleton. `flush` parses the skeleton, which
    also settles all questions of grammar that do not matter for knowing where in the document a byte stands.
    """

    def __init__(self, path: tuple[str | None, ...], *, max_skeleton_bytes: int = MAX_SKELETON_BYTES) -> None:
        self._path = [*path]
        self._limit = max_skeleton_bytes
        self._skeleton = bytearray()
        self._place: list[str | None] = []  # one entry an open container: the current key, None in a list
        self._closers = bytearray()
        self._key_expected = False
        self._string = _NO_STRING
        self._key_start = 0
        self._escape = b""  # the begun escape at the end of a chunk
        self._begun = False
        self._ended = False

    def decode(self, chunk: bytes) -> Iterator[bytes | memoryview | None]:
        position = 0
        if not self._begun:
            chunk = self._first(chunk)
        while position < len(chunk):
            if self._string is _IMAGE:
                end = chunk.find(b'"', position)
                yield from self._image_text(chunk, position, len(chunk) if end < 0 else end, final=end >= 0)
                if end < 0:
                    return
                self._string = _NO_STRING
                yield None
                position = end + 1
            elif self._string is _NO_STRING:
                position = self._structure(chunk, position)
            else:
                position = self._plain_string(chunk, position)

    def mark(self, value: int) -> None:
        """Puts `value` where the string that just ended was."""
        self._skeleton += b"%d" % value

    def flush(self) -> Any:
        if not self._ended:
            raise DarkroomError("response_cut", "The model's answer stopped before its end.")
        try:
            answer = json.loads(self._skeleton.decode(), parse_constant=_refuse_constant)
        except ValueError:
            refuse_json("is no JSON")
        if _SURROGATE.search(self._skeleton):
            # Half a surrogate pair is legal JSON and cannot be written as UTF-8: it would make storing fail.
            answer = strict_json.encodable(answer)
        return answer

    def _first(self, chunk: bytes) -> bytes:
        """Passes over a byte order mark and white space; anything but JSON's two containers is refused at once."""
        chunk = bytes(self._skeleton + chunk).removeprefix(_BYTE_ORDER_MARK).lstrip(_WHITE_SPACE)
        self._skeleton.clear()
        if _BYTE_ORDER_MARK.startswith(chunk):
            self._skeleton += chunk
            return b""
        if chunk[:1] not in (b"{", b"["):
            refuse_json("is no JSON")
        self._begun = True
        return chunk

    def _structure(self, chunk: bytes, position: int) -> int:
        """Reads from outside any string up to the next string that begins, or the end of the chunk."""
        begin = position
        for found in _STRUCTURE.finditer(chunk, position):
            token = found[0]
            position = found.end()
            if token == b'"':
                self._open_string(chunk, begin, position)
                return position
            self._token(token)
        self._keep(chunk[begin:])
        return len(chunk)

    def _token(self, token: bytes) -> None:
        if token in b"{[":
            if len(self._place) == MAX_DEPTH:
                refuse_json("is nested too deeply")
            self._place.append("" if token == b"{" else None)
            self._closers += b"}" if token == b"{" else b"]"
            self._key_expected = token == b"{"
        elif token in b"}]":
            if not self._closers.endswith(token):
                refuse_json("is no JSON")
            self._closers.pop()
            self._place.pop()
            self._key_expected = False
            self._ended = not self._place
        elif token == b",":
            self._key_expected = self._closers.endswith(b"}")
        else:
            self._key_expected = False

    def _open_string(self, chunk: bytes, begin: int, position: int) -> None:
        if not self._key_expected and self._place == self._path:
            self._keep(chunk[begin : position - 1])  # the mark will stand for the whole string, quotes and all
            self._string = _IMAGE
            return
        self._keep(chunk[begin:position])
        self._key_start = len(self._skeleton) - 1
        self._string = _KEY if self._key_expected else _VALUE

    def _plain_string(self, chunk: bytes, position: int) -> int:
        """Reads from inside a key or a small string to just behind its end, or to the end of the chunk."""
        begin = position
        if self._escape:
            position += 1  # whatever is escaped, it ends nothing
            self._escape = b""
        for found in _STRING_PART.finditer(chunk, position):
            position = found.end()
            if found[0] == b'"':
                self._keep(chunk[begin:position])
                self._close_string()
                return position
            if len(found[0]) == 1:
                self._escape = b"\\"
        self._keep(chunk[begin:])
        return len(chunk)

    def _close_string(self) -> None:
        if self._string is _KEY:
            try:
                self._place[-1] = json.loads(self._skeleton[self._key_start :].decode())
            except ValueError:
                refuse_json("is no JSON")
        self._string = _NO_STRING

    def _image_text(self, chunk: bytes, begin: int, end: int, *, final: bool) -> Iterator[bytes | memoryview]:
        if not self._escape and chunk.find(b"\\", begin, end) < 0:
            if end > begin:
                yield memoryview(chunk)[begin:end]
            return
        # The slow way, taken where the text is escaped. A quote here always ends the string, since one that is
        # escaped has no place in base64 and leaves its backslash behind, which is refused as broken base64.
        text = self._escape + chunk[begin:end]
        self._escape = b""
        last = text.rfind(b"\\")
        if not final and last >= 0 and len(text) - last < _ESCAPE_LENGTH and text[last:] != b"\\/":
            whole = _ESCAPED.match(text, last)
            if whole is None:
                text, self._escape = text[:last], text[last:]
        yield _ESCAPED.sub(_unescape, text.replace(b"\\/", b"/"))

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        self._within_limit()

    def _within_limit(self) -> None:
        if len(self._skeleton) > self._limit:
            raise DarkroomError(
                "response_too_large", f"The model's answer held over {self._limit} bytes beside its images."
            )


_NO_STRING, _KEY, _VALUE, _IMAGE = range(4)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"
_STRUCTURE = re.compile(rb'[{}\[\],:"]')
_STRING_PART = re.compile(rb'"|\\(?s:.)?')
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE_LENGTH = len(rb"\u002f")


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def refuse_json(what: str) -> NoReturn:
    raise DarkroomError("response_not_json", f"The model's answer {what}.")
