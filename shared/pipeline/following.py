"""Following a job from any instance while another runs it: its events as they happen, told again from where a caller
was cut off.

The door comes in by `follow`. Told are, in this order: `job.running`, from the job's row; what its log has, in the
names of the images API (`job_events`); the end, `job.succeeded`, `.failed` or `.canceled`, from the row again, with the
job document. An id says how far a caller is: `0` behind `job.running`, then the offset in the log behind the event,
`end` behind the end. Only the row and the log are looked at, so nothing is lost with whoever follows.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.delivery.event_log import EventLog, Line
from shared.errors import DarkroomError
from shared.jobs import document as documents
from shared.jobs.job import Job, Status
from shared.pipeline import read
from shared.pipeline.job_events import log_of
from shared.pipeline.rooms import Rooms, rooms
from shared.platform import server_sent_events as sse
from shared.settings import settings

log = logging.getLogger("darkroom")

LAST_EVENT_ID: Final = "Last-Event-ID"
ID_PATTERN: Final = "^(0|[1-9][0-9]{0,11}|end)$"
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 1.0
_GROWTH: Final = 1.5
_ROW_EVERY: Final = 2
"""The row is looked at in each second round."""
_RUNNING: Final = "0"
_END: Final = "end"


@dataclass(frozen=True, slots=True)
class Told:
    """An event for a caller. `id` is what it sends back as `Last-Event-ID` to go on behind it."""

    id: str
    name: str
    data: Mapping[str, Any] = field(repr=False)


async def follow(job: Job, last_id: str) -> AsyncGenerator[Told | None] | None:
    """The events of `job` behind the one with `last_id` (empty: all); None when that was the end. None among them means
    that nothing happened for 15 s.

    They stop behind the end; before it after `SYNC_BUDGET_SECONDS`, or when storage does not answer: the caller then
    asks again. Raises `invalid_value` for an id that is none of this job's.
    """
    room = await rooms()
    events = EventLog(room.blobs, log_of(job.id))
    if last_id and not re.fullmatch(ID_PATTERN, last_id, re.ASCII):
        raise _no_id("is no id of an event")
    if last_id == _END:
        if not job.ended:
            raise _no_id("is that of the end, and the job has not ended")
        return None
    offset = int(last_id or 0)
    if offset and job.purged_at is None and not await events.is_boundary(offset):
        raise _no_id("is no id of an event of this job")
    return _Following(room, job, events, offset, running_told=bool(last_id)).told()


def _no_id(why: str) -> DarkroomError:
    message = f"Invalid '{LAST_EVENT_ID}': it {why}. Leave it out to get all events from the first."
    return DarkroomError("invalid_value", message, param=LAST_EVENT_ID)


@dataclass(slots=True)
class _Following:
    room: Rooms
    job: Job
    events: EventLog
    offset: int
    running_told: bool
    logged: bool | None = None
    """Whether the job may have a log; None until that was looked at."""

    async def told(self) -> AsyncGenerator[Told | None]:
        until = time.monotonic() + settings().sync_budget_seconds
        spoke = time.monotonic()
        pause, rounds = FIRST_PAUSE, 0
        try:
            while True:
                # The log as it is once the row has been read: all of it was written before the end.
                async for event in self._news():
                    yield event
                    pause, spoke = FIRST_PAUSE, time.monotonic()
                if self.job.ended:
                    yield Told(_END, f"job.{self.job.status}", await read.signed_document(self.job))
                    return
                if time.monotonic() >= until:
                    return
                if time.monotonic() - spoke >= sse.KEEP_ALIVE_SECONDS:
                    yield None
                    spoke = time.monotonic()
                await asyncio.sleep(pause)
                pause, rounds = min(pause * _GROWTH, LONGEST_PAUSE), rounds + 1
                if rounds % _ROW_EVERY == 0 and not await self._look():
                    return
        except DarkroomError as error:
            # The answer has begun. A caller that is cut off between two events comes back with the last one's id.
            log.warning("job %s: its events cannot be told on: %s", self.job.id, error.code)

    async def _look(self) -> bool:
        """Read the row; whether it is still there."""
        now = await self.room.store.get(self.job.id)
        self.job = now or self.job
        return now is not None

    async def _news(self) -> AsyncGenerator[Told]:
        if not self.running_told and (self.job.calls or self.job.status is Status.RUNNING):
            self.running_told = True
            yield Told(_RUNNING, "job.running", documents.summary(self.job, job_base=read.job_base()))
        if self.job.calls and self.job.purged_at is None and await self._is_logged():
            for line in await self.events.read(self.offset):
                self.offset = line.end
                yield await self._from_log(line)

    async def _is_logged(self) -> bool:
        """Only jobs that asked for a stream have a log: the others are not asked for one again and again."""
        if self.logged is None:
            try:
                self.logged = (await self.room.files(self.job.id).get_request()).request.stream
            except DarkroomError:  # a request that cannot be read ends its job, and what there is to tell is told
                self.logged = True
        return self.logged

    async def _from_log(self, line: Line) -> Told:
        members = line.members()
        name = members.pop("event")
        for one in (members, *members.get("derived", ())):
            one["url"] = await self.room.links.sign(one["blob"])
        return Told(str(line.end), name, {"type": name, **members})
