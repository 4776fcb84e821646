"""The log of a job: an append blob of one JSON object to a line, which some read while others write.

The runner comes in by `EventLogWriter`, whoever follows the job by `EventLog`. A line is appended whole or not at all,
and only where the writer knows the blob to end: a runner that another took over from cannot write between the lines of
its successor. Each line says by `call` which of the job's calls it is about; the numbers never fall.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import DarkroomError
from shared.platform import strict_json
from shared.platform.blobs import BlobClient

MAX_LINE_BYTES: Final = 2**20
_CONTENT_TYPE: Final = "application/jsonl"
_TRIES: Final = 5  # each one that fails means that another runner wrote a line meanwhile


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it stands in the log. `end` is the offset behind it in bytes: where the next one begins."""

    text: bytes
    end: int

    def members(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


class EventLog:
    """Reads the log in blob `name`. Raises DarkroomError `storage_unavailable`."""

    def __init__(self, blobs: BlobClient, name: str) -> None:
        self._blobs = blobs
        self._name = name

    async def read(self, offset: int = 0) -> list[Line]:
        """The whole lines from `offset`, where one begins; none where there is no log, or no more of it."""
        return _lines(await self._bytes(offset), offset)

    async def is_boundary(self, offset: int) -> bool:
        """Whether a line ends right before `offset`, which is above 0."""
        return await self._bytes(offset - 1, offset - 1) == b"\n"

    async def _bytes(self, first: int, last: int | None = None) -> bytes:
        try:
            return await self._blobs.read_whole(self._name, byte_range=f"bytes={first}-{'' if last is None else last}")
        except DarkroomError as error:
            if error.code in ("not_found", "range_not_satisfiable"):
                return b""
            raise


class EventLogWriter:
    """Appends to the log in blob `name`, which `open` makes or finds."""

    def __init__(self, blobs: BlobClient, name: str) -> None:
        self._blobs = blobs
        self._name = name
        self._end = 0
        self._latest = 0  # the latest call of which the log is known to tell

    async def open(self) -> list[Line]:
        """What the log holds already: lines of an earlier runner. Raises `storage_unavailable`."""
        if await self._blobs.create_appendable(self._name, content_type=_CONTENT_TYPE):
            return []
        return await self._catch_up()

    async def append(self, members: Mapping[str, Any]) -> bool:
        """Append a line; False when the log has one of a later `call`, whose runner has taken over.

        Raises `storage_unavailable`, and ValueError for a line over 1 MiB.
        """
        text = _text(members)
        for _ in range(_TRIES):
            if self._latest > members["call"]:
                return False
            if await self._blobs.append(self._name, [text], at=self._end):
                self._end += len(text)
                return True
            if any(line.text == text for line in await self._catch_up()):  # a try of ours whose answer was lost
                return True
        raise DarkroomError("storage_unavailable", "The log of a job kept growing under its writer.")

    async def _catch_up(self) -> list[Line]:
        """The lines that came since the last one known here."""
        lines = await EventLog(self._blobs, self._name).read(self._end)
        if lines:
            self._end = lines[-1].end
            self._latest = lines[-1].members()["call"]
        return lines


def _text(members: Mapping[str, Any]) -> bytes:
    text = strict_json.encode(members) + b"\n"
    if len(text) > MAX_LINE_BYTES:
        raise ValueError("the line is too long")
    return text


def _lines(data: bytes, offset: int) -> list[Line]:
    found = []
    for text in data.splitlines(keepends=True):
        if text.endswith(b"\n"):
            offset += len(text)
            found.append(Line(text, offset))
    return found
