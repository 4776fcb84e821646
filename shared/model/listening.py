"""Who hears an answer while it arrives: the pipeline comes in with a `Listener`, the model client tells it.

What a listener gets is what came: the bytes of an answer that is JSON, the whole events of one that is a stream. Its
pace is the call's, so that one which waits slows the sender and costs no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """A whole server-sent event of a streamed answer.

    `name` is that of its `event` line, else its data's `type`: `image_generation.partial_image`, `error`; empty where
    there is neither. `raw` is what came, framing and all, or what is left of it behind the parts that were told.
    `members` is its data without `b64_json`. `image` is the decoded image of a partial event, in pieces, where the
    listener keeps those; a completed one's goes to storage.
    """

    name: str
    raw: Sequence[bytes] = field(repr=False)
    members: Mapping[str, Any] = field(repr=False)
    image: Sequence[bytes] | None = field(default=None, repr=False)

    @property
    def is_partial(self) -> bool:
        return self.name.endswith(".partial_image")

    @property
    def is_completed(self) -> bool:
        return self.name.endswith(".completed")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The service's error, where this event tells of one: as `error` of its data, or, flat, as the data itself."""
        error = self.members.get("error")
        if error is None:
            flat = {name: value for name, value in self.members.items() if name != "type"}
            return flat if self.name == "error" else None
        return error if isinstance(error, Mapping) else {"message": str(error)}


class Listener(Protocol):
    """See above. Its methods are awaited one after the other and do not raise."""

    keeps_partials: bool
    """Whether partial images are wanted decoded."""

    async def began(self, *, streamed: bool, length: int | None) -> None:
        """An answer has come, and an image in it; `length` is its length in bytes where that was declared."""

    async def piece(self, data: bytes) -> None:
        """The next bytes of an answer that is JSON."""

    async def part(self, raw: Sequence[bytes]) -> None:
        """The beginning, or more, of an event that is too large to be held until it is whole."""

    async def event(self, event: Event) -> None:
        """The next event of a stream."""

    async def ended(self) -> None:
        """The answer has come whole, and its images are on their way to storage."""

    async def stored(self, result: Mapping[str, Any]) -> None:
        """The images are stored, those of a broken answer too, and `result` (`result.json`) tells of them. The job ends
        next. This the pipeline tells, not the model client."""
