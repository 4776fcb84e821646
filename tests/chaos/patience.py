"""Waiting until all that was accepted has ended, in real time or, for those in a hurry, with the clocks of the dead put
forward.

A killed runner's lease ends after 60 s and is taken over 15 s later; a lost message is missed after 2 minutes; an event
that the topic refused is due again after 30 s and more. `hasten` makes the stored times those that would be there after
that long, and runs the timers. Nothing else would have changed them meanwhile: only a runner that lives renews a lease.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.data.tables import UpdateMode
from azure.storage.queue import QueueClient

from local.infrastructure import QUEUES
from local.state import StackInfo
from tests.support import peers
from tests.support.storage import StaticCredential, Storage

LEASE_OVER = timedelta(seconds=16)
"""How long a lease has to be over before another runner takes the job, and a second."""
MESSAGE_LOST = timedelta(seconds=121)
"""How late a message has to be before another is sent, and a second."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_DUE = "%Y%m%dT%H%M%S%fZ"
UPLOADS = "image-uploads"
_LOOKS = 3
"""How often in a row there has to be nothing: a file that was just dropped is announced a moment later."""
_TIMERS = ("recover_jobs", "send_outbox")


@dataclass(frozen=True, slots=True)
class Pending:
    """What has not come to its end yet, as numbers."""

    callers: int
    live_jobs: int
    outbox: int
    messages: dict[str, int]
    running_batches: int
    blob_events: int

    @property
    def nothing(self) -> bool:
        return not (
            self.callers or self.live_jobs or self.outbox or self.messages or self.running_batches or self.blob_events
        )

    @property
    def only_late_looks(self) -> bool:
        """Whether all that is left is messages that ask to look at a folder once more, later."""
        return self.messages.keys() == {UPLOADS} and replace(self, messages={}).nothing

    def __str__(self) -> str:
        return (
            f"{self.callers} callers wait, {self.live_jobs} live jobs, {self.outbox} in the outbox, "
            f"messages {self.messages or 'none'}, {self.running_batches} batches, {self.blob_events} blob events"
        )


class Patience:
    """Looks at the stack past its faults; `callers` counts those who still wait for an answer. Use it as a context."""

    def __init__(self, info: StackInfo, callers: Callable[[], int]) -> None:
        self._callers = callers
        self._info = info
        self._jobs = peers.table(info, "jobs")
        self._queues = [
            QueueClient(info.queue, name, credential=StaticCredential(), connection_verify=info.ca) for name in QUEUES
        ]

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.close()
        for queue in self._queues:
            queue.close()

    async def wait(
        self, longest: float, say: Callable[[str], None], *, hurry: Callable[[], set[int]] | None = None
    ) -> Pending:
        """Until nothing is pending, or for `longest` seconds; what is pending then. `hurry` names the process ids of
        the dead, whose time may be put forward."""
        end = time.monotonic() + longest
        said, looks, late = 0.0, 0, 0
        while True:
            pending = await asyncio.to_thread(self.pending)
            looks = looks + 1 if pending.nothing else 0
            if looks == _LOOKS or time.monotonic() > end:
                return pending
            if not looks and time.monotonic() - said > 5:
                say(f"to come: {pending}")
                said = time.monotonic()
            if hurry is not None:
                await asyncio.to_thread(self.hasten, hurry(), messages_lost=not pending.messages)
                late = late + 1 if pending.only_late_looks else 0
                if late == _LOOKS:
                    await asyncio.to_thread(self.look_now)
            await asyncio.sleep(1)

    def pending(self) -> Pending:
        return Pending(
            callers=self._callers(),
            live_jobs=len(self._rows("l:")),
            outbox=len(self._rows("o:")),
            messages={queue.queue_name: n for queue in self._queues if (n := self._messages(queue))},
            running_batches=sum(1 for row in self._rows("b:") if not row.get("finished_at")),
            blob_events=self._blob_events(),
        )

    def hasten(self, dead: set[int], *, messages_lost: bool) -> None:
        """Make the leases of the `dead` end, the outbox due and, with `messages_lost`, queued jobs and waiting batches
        overdue; then run the timers."""
        now = datetime.now(UTC)
        over, overdue = (now - LEASE_OVER).strftime(_TIME), (now - MESSAGE_LOST).strftime(_TIME)
        for row in self._rows("j:"):
            if row["status"] == "running" and _pid(row.get("lease_owner", "")) in dead and row["lease_until"] > over:
                self._put(row, lease_until=over)
            elif messages_lost and row["status"] == "queued" and overdue < row["wake_at"] <= now.strftime(_TIME):
                self._put(row, wake_at=overdue)
        for row in self._rows("n:"):
            left_by_the_dead = _pid(row.get("runner", "")) in dead
            if row["until"] > over and (left_by_the_dead or (messages_lost and not row.get("runner"))):
                self._put(row, until=over)
        for row in self._rows("o:"):
            self._make_due(row, now)
        for timer in _TIMERS:
            self._admin("POST", f"functions/{timer}", json={})

    def look_now(self) -> None:
        """What the messages ask that would look at upload folders later, asked now."""
        self._queues[QUEUES.index(UPLOADS)].clear_messages()
        for blob in Storage(self._info.blob, self._info.table).blobs("uploads"):
            if blob.endswith("/request.json"):
                self._admin("POST", "functions/announce_upload", json={"input": f"uploads/{blob}"})

    def _make_due(self, row: Mapping[str, Any], now: datetime) -> None:
        """The same entry under the key of an earlier time."""
        _, due, *rest = str(row["RowKey"]).split(":")
        if due <= now.strftime(_DUE):
            return
        earlier = {**row, "RowKey": ":".join(("o", now.strftime(_DUE), *rest))}
        try:
            self._jobs.submit_transaction([("delete", dict(row)), ("create", earlier)])
        except AzureError:
            return  # it was sent, or put off, meanwhile

    def _put(self, row: Any, **changes: str) -> None:
        try:
            self._jobs.update_entity(
                {**row, **changes},
                mode=UpdateMode.REPLACE,
                etag=row.metadata["etag"],
                match_condition=MatchConditions.IfNotModified,
            )
        except AzureError:
            return  # somebody lives after all, and moved it meanwhile

    def _rows(self, kind: str) -> list[Any]:
        until = chr(ord(kind[-1]) + 1)
        query = f"PartitionKey eq 'jobs' and RowKey ge '{kind}' and RowKey lt '{kind[:-1]}{until}'"
        return list(self._jobs.query_entities(query))

    def _blob_events(self) -> int:
        counted = self._admin("GET", "_local/blob-events").json()
        return int(counted["waiting"]) + int(counted["held"])

    def _admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"x-functions-key": self._info.key}
        return peers.fetch(self._info, method, f"{self._info.app}/admin/{path}", headers=headers, **options)

    def _messages(self, queue: QueueClient) -> int:
        try:
            return int(queue.get_queue_properties().approximate_message_count or 0)
        except AzureError:
            return 0


def _pid(runner: str) -> int:
    """The process in the name of a runner (`shared.jobs.job.new_runner`): `<instance>-<pid>-<random>`."""
    parts = runner.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0
