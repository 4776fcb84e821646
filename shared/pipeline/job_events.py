"""What happens in the call of an asynchronous job, written down for whoever follows it from elsewhere.

The runner comes in by `listener`. Partial images become blobs beside the job's request,
`partial-<call>-<image>-<number>.<ext>`, and its log `events` gets a line for each of them and for each image that is
stored; `following` reads it.

All this is beside the job and may not harm it: it is written in a task of its own, a few seconds is all that the call
and the end of the job ever wait for it, and storage that fails ends the log, not the job. A runner whose lease is not
safe writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, override

from shared.delivery.event_log import EventLogWriter
from shared.errors import DarkroomError
from shared.images import pixels
from shared.jobs.files import CONTAINER, AcceptedRequest
from shared.jobs.job import Door
from shared.jobs.lease import Lease
from shared.model.listening import Event, Listener
from shared.pipeline.rooms import Rooms

log = logging.getLogger("darkroom")

PATIENCE: Final = 5.0
"""Seconds, in all, that a job waits for its log."""
WRITE_SECONDS: Final = 5.0
MOST_FAILURES: Final = 2
_MOST_WAITING: Final = 3  # partial images in memory, a few MB each
_SAID: Final = ("created_at", "size", "quality", "background", "output_format", "partial_image_index", "usage")
"""What the service says in an event beside the image."""


def log_of(job_id: str) -> str:
    """The blob (`container/name`) that holds the log of a job."""
    return f"{CONTAINER}/{job_id}/events"


def listener(room: Rooms, lease: Lease, accepted: AcceptedRequest) -> JobEvents | None:
    """Who writes down the events of a job's calls; None for a job that asked for none, or whose caller gets them with
    its answer."""
    wanted = accepted.request.stream and lease.job.door is not Door.HTTP
    return JobEvents(room, lease, accepted.request.kind) if wanted else None


class JobEvents(Listener):
    """A listener of all calls that one runner makes for a job."""

    keeps_partials = True

    def __init__(self, room: Rooms, lease: Lease, kind: str) -> None:
        self._room = room
        self._lease = lease
        self._prefix = "image_edit" if kind == "edit" else "image_generation"
        self._job_id = lease.job.id
        self._log: EventLogWriter | None = None
        self._told: set[tuple[int, int]] = set()  # call and index of images that the log says are stored
        self._call = 0
        self._completed: list[Mapping[str, Any]] = []
        self._failures = 0
        self._silent = False
        self._patience = PATIENCE
        self._order = asyncio.Lock()
        self._room_for = asyncio.Semaphore(_MOST_WAITING)
        self._writes: set[asyncio.Task[None]] = set()

    # -- the listener ----------------------------------------------------------------------------------------------

    @override
    async def began(self, *, streamed: bool, length: int | None) -> None:
        self._call = self._lease.job.calls
        self._completed = []

    @override
    async def piece(self, data: bytes) -> None:
        return

    @override
    async def part(self, raw: Sequence[bytes]) -> None:
        return

    @override
    async def event(self, event: Event) -> None:
        if event.is_completed:
            self._completed.append(_said(event.members))
        elif event.is_partial and event.image:
            index, number = len(self._completed), event.members.get("partial_image_index")
            about = {**_said(event.members), "event": event.name, "call": self._call, "index": index}
            name = f"partial-{self._call}-{index}-{number if isinstance(number, int) else 0}"
            await self._in_its_turn(partial(self._put_partial, name, event.image, about))

    @override
    async def ended(self) -> None:
        return

    @override
    async def stored(self, result: Mapping[str, Any]) -> None:
        """Also lets all be written that is still to be: who follows the job reads no further than its end."""
        for image in result["images"]:
            position = image["index"]
            members = self._completed[position] if position < len(self._completed) else _of_document(result["answer"])
            about = {**members, **image, "event": f"{self._prefix}.completed", "call": result["call"]}
            await self._in_its_turn(partial(self._put_completed, about))
        if self._writes:
            _, late = await asyncio.wait(self._writes, timeout=self._patience)
            if late:
                self._give_up("storage is slow")

    # -- what is written -------------------------------------------------------------------------------------------

    async def _put_partial(self, name: str, image: Sequence[bytes], about: dict[str, Any]) -> None:
        content_type = pixels.content_type_of(b"".join(image[:12])[:12])  # pieces may be of any size
        if content_type is None:
            return
        blob = f"{CONTAINER}/{self._job_id}/{name}.{pixels.EXTENSIONS[content_type]}"
        await self._room.blobs.put(blob, image, content_type=content_type, overwrite=True)
        size = sum(map(len, image))
        await self._append({**about, "blob": blob, "content_type": content_type, "bytes": size})

    async def _put_completed(self, about: dict[str, Any]) -> None:
        await self._opened()
        if (about["call"], about["index"]) not in self._told:
            await self._append(about)

    async def _append(self, about: dict[str, Any]) -> None:
        writer = await self._opened()
        if not await writer.append(about):
            self._give_up("another runner has the job")

    async def _opened(self) -> EventLogWriter:
        if self._log is None:
            writer = EventLogWriter(self._room.blobs, log_of(self._job_id))
            lines = [line.members() for line in await writer.open()]
            self._told = {(line["call"], line["index"]) for line in lines if line["event"].endswith(".completed")}
            self._log = writer
        return self._log

    # -- beside the job --------------------------------------------------------------------------------------------

    async def _in_its_turn(self, write: Callable[[], Awaitable[None]]) -> None:
        """Have `write` done after those before it. Waits only while several wait already, and not for long."""
        if self._silent:
            return
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                await self._room_for.acquire()
        except TimeoutError:
            self._give_up("storage is slower than the model")
        else:
            task = asyncio.create_task(self._do(write))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)
        finally:
            self._patience = max(0.0, self._patience - (time.monotonic() - begun))

    async def _do(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._order:
                if self._silent:
                    return
                if not self._lease.safe():
                    raise DarkroomError("lease_lost", "The lease is not safe.")
                async with asyncio.timeout(WRITE_SECONDS):
                    await write()
        except Exception as error:  # noqa: BLE001 - whatever it is, the job goes on
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                self._give_up(getattr(error, "code", type(error).__name__))
        finally:
            self._room_for.release()

    def _give_up(self, why: str) -> None:
        if not self._silent:
            log.warning("job %s: its events are written down no more: %s", self._job_id, why)
        self._silent = True
        for task in self._writes:
            if task is not asyncio.current_task():
                task.cancel()


def _said(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: members[name] for name in _SAID if name in members}


def _of_document(answer: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an answer that was not streamed, or not to this runner, says beside its images, as an event says it."""
    return {} if answer is None else _said({**answer, "created_at": answer.get("created")})
