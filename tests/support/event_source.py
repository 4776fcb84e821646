"""What a browser's EventSource makes of a stream: events with the id to come back with, by the rules of
https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it is dispatched. `id` is the last event id at that time."""

    type: str
    id: str
    text: str

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(slots=True)
class EventSource:
    """Feed it what arrives, cut wherever; `messages` are the events so far. `last_id` outlives the connection, as does
    an EventSource: `reconnect` drops what had come of an event that was cut."""

    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    messages: list[Message] = field(default_factory=list)
    _rest: bytes = b""
    _type: str = ""
    _data: list[str] = field(default_factory=list)
    _id: str = ""

    def __post_init__(self) -> None:
        self._id = self.last_id

    def feed(self, chunk: bytes) -> list[Message]:
        """The events that are complete by now and were not before."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        known = len(self.messages)
        for line in lines:
            self._line(line.removesuffix(b"\r").decode())
        return self.messages[known:]

    def reconnect(self) -> dict[str, str]:
        """The headers of the next request."""
        self._rest, self._type, self._data, self._id = b"", "", [], self.last_id
        return {"accept": "text/event-stream", **({"last-event-id": self.last_id} if self.last_id else {})}

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            self._dispatch()
        elif not name:
            self.comments += 1
        elif name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_id = self._id
        if self._data:
            self.messages.append(Message(self._type or "message", self.last_id, "\n".join(self._data)))
        self._type, self._data = "", []
