"""The model's answer on its way to the caller who waits for it, byte for byte, while it is decoded and stored.

The HTTP door comes in with a `Relay`, gives it to the job's run as its listener, and reads from its window. The run
goes on whatever becomes of the reader; the reader sees the end only when the answer is known to be whole.

- A document passes as it arrives, but for its last byte: that goes when all of it was understood and, where the caller
  is to find everything stored, when it is.
- A stream passes event by event, each as soon as it is whole, so that an error can always follow as an event. The
  service's own error goes when the run is over: until then the model may be asked again.
- What was changed for the caller is said in a `darkroom` member at the end of the document, or of the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.errors import DarkroomError
from shared.model.listening import Event
from shared.pipeline.window import Window
from shared.platform import server_sent_events, strict_json

_WHITE_SPACE: Final = b" \t\r\n"


class Relay:
    """See above. `streamed` says what the caller asked for: an answer of the other kind is not passed on."""

    keeps_partials = False

    def __init__(
        self, *, streamed: bool, adapted: Sequence[Mapping[str, Any]] = (), until_stored: bool = False
    ) -> None:
        self.window = Window()
        self.opened = asyncio.Event()
        """There is something to be read."""
        self.length: int | None = None
        """Of the document, in bytes, where it is known."""
        self.passes = False
        """An answer of the kind asked for has begun."""
        self._streamed = streamed
        self._until_stored = until_stored
        self._more = _darkroom(adapted)
        self._tail: Sequence[bytes] = ()
        self._whole = False
        self.within_event = False
        """The reader has a part of an event that is too large to be held: nothing may come between."""
        self.told_error = False
        """The reader is told of an error, by an event of the service or of ours."""
        self._told_image = False
        self.result: Mapping[str, Any] | None = None
        """`result.json`, once the images are stored."""

    # -- what the run tells ----------------------------------------------------------------------------------------

    async def began(self, *, streamed: bool, length: int | None) -> None:
        self._tail, self.told_error = (), False
        if self.passes and (not streamed or self.within_event or self._told_image):
            # A second answer: it cannot be put behind what the caller has of the first.
            self.passes = False
            self.window.break_off()
        elif streamed == self._streamed and not self.window.is_closed:
            self.passes = True
            self.length = None if length is None else length + len(self._more)
            if not self._until_stored or streamed:
                self.opened.set()

    async def piece(self, data: bytes) -> None:
        if not self.passes:
            return
        closing = len(data.rstrip(_WHITE_SPACE)) - 1
        if closing < 0:  # white space behind what may be the end
            self._tail = (*self._tail, data)
            return
        await self.window.put([*self._tail, data[:closing]])
        self._tail = (data[closing:],)

    async def part(self, raw: Sequence[bytes]) -> None:
        if self.passes:
            await self._pass_tail()
            self.within_event = True
            await self.window.put(raw)

    async def event(self, event: Event) -> None:
        if not self.passes:
            return
        is_error = event.error is not None
        if self._tail and not (event.is_completed or event.is_partial or is_error):
            self._tail = (*self._tail, *event.raw)  # the end of the stream, behind the image that waits for storage
            return
        await self._pass_tail()
        if is_error:
            # Clients do not see an error that is not a member of its event: it is told in the form they know.
            self.told_error = event.members.get("error") is not None
            self._tail = event.raw if self.told_error else ()
        elif event.is_completed:
            self._tail = _with_member(event.raw, self._more) if self._more else event.raw
            if not self._until_stored:
                await self._pass_tail()
        else:
            await self.window.put(event.raw)
            self.within_event = False

    async def ended(self) -> None:
        self._whole = True
        if self.passes and not self._until_stored:
            await self._finish()

    async def stored(self, result: Mapping[str, Any]) -> None:
        self.result = result

    async def over(self, error: DarkroomError | None) -> None:
        """The run is over: the job has succeeded, or not and `error` says why."""
        if self.window.is_closed:
            return
        if self._streamed:
            if error is None or self.told_error:
                await self._pass_tail()
            elif self.within_event:
                self.window.break_off()
                return
            else:
                self.told_error = True
                await self.window.put([error_event(error)])
            self.window.close()
        elif self.passes and self._whole and error is None:
            await self._finish()
        else:
            self.window.break_off()
        self.opened.set()

    async def _finish(self) -> None:
        if not self._streamed and self._tail and self._more:
            self._tail = _with_member(self._tail, self._more)
        await self._pass_tail()
        self.window.close()

    async def _pass_tail(self) -> None:
        if self._tail:
            tail, self._tail = self._tail, ()
            self._told_image = True
            await self.window.put(tail)
            self.within_event = False


def error_event(error: DarkroomError) -> bytes:
    """`error` as the service tells of one in a stream."""
    return server_sent_events.written("error", {"type": "error", "error": error.to_dict()})


def _darkroom(adapted: Sequence[Mapping[str, Any]]) -> bytes:
    """What goes before the last brace of an answer that was adapted."""
    if not adapted:
        return b""
    return b',"darkroom":' + strict_json.encode({"adapted": [dict(entry) for entry in adapted]})


def _with_member(raw: Sequence[bytes], member: bytes) -> list[bytes]:
    """`raw` with `member` before its last brace."""
    pieces = list(raw)
    for position in range(len(pieces) - 1, -1, -1):
        brace = pieces[position].rfind(b"}")
        if brace >= 0:
            piece = pieces[position]
            pieces[position : position + 1] = [piece[:brace], member, piece[brace:]]
            break
    return pieces
