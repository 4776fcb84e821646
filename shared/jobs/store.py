"""Jobs in Table Storage: accepted once, run by one runner at a time, ended once.

Who comes in: the pipeline for every door, and the timer. Rows of table `jobs`, partition `jobs`:

- `j:<id>` the job, from acceptance until retention;
- `l:<id>` while it has not ended, so that abandoned jobs are found without reading the ended ones;
- `o:<due>:<id>` its end, still to be announced (`outbox`);
- `b:<id>` a batch, which counts the ends of its jobs (`batch`).

Each move is one write under If-Match, or one transaction where rows come and go, so whoever reads sees all of a move
or none. A conflict is read again and decided again: the lease decides who may move a job, and a cancel or a new poll
token, which need no lease, only make the runner write once more.

Leases are compared by the clocks of the instances. Those of one region agree within far less than the 15 s that lie
between a lease's end and the first take-over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.jobs import batch as batches
from shared.jobs.job import (
    KEPT_TOKENS,
    LEASE,
    Job,
    Phase,
    Status,
    error_without_words,
    first_id_before,
    leased,
)
from shared.jobs.lease import Lease
from shared.jobs.outbox import PARTITION, OutboxEntry, What
from shared.jobs.records import job_of, row_of
from shared.jobs.rows import (
    CONFLICT_TRIES,
    Change,
    Clock,
    RowChanged,
    RowExists,
    Rows,
    back_off,
    storage_unavailable,
    utc_now,
)

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

TAKE_OVER_AFTER = timedelta(seconds=15)
_LIVE_READS = 16
_RUNNERS_FIELDS = frozenset(
    {"phase", "slot_at", "deployment", "region", "call_started_at", "attempt", "attempts", "possibly_billed", "error"}
)


class ClaimOutcome(StrEnum):
    CLAIMED = "claimed"
    ENDED = "ended"
    HELD = "held"
    """Another runner's lease lives, or ended too short a time ago."""
    UNKNOWN = "unknown"
    """No such job."""
    EARLY = "early"
    """The job waits, and its own message comes later."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of a claim: the job as it is now, and as it was before (`previous`) when it was claimed."""

    outcome: ClaimOutcome
    job: Job | None = None
    previous: Job | None = None

    @property
    def taken_over(self) -> bool:
        """Whether another runner had the job and died, or lost it."""
        return self.previous is not None and self.previous.status is Status.RUNNING

    @property
    def died_calling(self) -> bool:
        """Whether a call of a dead runner has an outcome nobody knows."""
        return self.taken_over and self.previous is not None and self.previous.call_started_at is not None


class JobStore:
    """The `j:` and `l:` rows of table `jobs`. Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self.clock = clock

    async def create(self, job: Job) -> Job:
        """Write a new job; when its id is there already (a repeat, or our own lost answer), return that one."""
        live = {"PartitionKey": PARTITION, "RowKey": f"l:{job.id}"}
        try:
            etags = await self._rows.commit([Change("insert", row_of(job)), Change("insert", live)])
        except RowExists:
            return await self._require(job.id)
        return replace(job, etag=etags[0]) if etags[0] else await self._require(job.id)

    async def get(self, job_id: str) -> Job | None:
        found = await self._rows.get(PARTITION, f"j:{job_id}")
        return None if found is None else job_of(*found)

    async def claim(self, job_id: str, runner: str, *, early: timedelta | None = None) -> Claim:
        """Take the job for `runner` (a name of `new_runner`) with a lease of 60 s, unless another has it.

        With `early`, a queued job whose message comes later than that is left alone: a second message for it would
        otherwise be given back as a message of its own, and so never go away.

        A job whose runner let its lease end is taken over 15 s later, as a new attempt; what is known of the dead
        runner's call stays on the row (`call_started_at`, `deployment`, `calls`) until `update` clears it.
        """
        previous: Job | None = None
        for _ in range(CONFLICT_TRIES):
            job = await self.get(job_id)
            if job is None:
                return Claim(ClaimOutcome.UNKNOWN)
            if job.ended:
                return Claim(ClaimOutcome.ENDED, job)
            now = self.clock()
            if job.status is Status.RUNNING:
                if job.lease_owner == runner:
                    return Claim(ClaimOutcome.CLAIMED, job, previous)
                if job.lease_until is not None and now < job.lease_until + TAKE_OVER_AFTER:
                    return Claim(ClaimOutcome.HELD, job)
            elif early is not None and job.wake_at is not None and job.wake_at > now + early:
                return Claim(ClaimOutcome.EARLY, job)
            previous = job
            try:
                return Claim(ClaimOutcome.CLAIMED, await self._write(leased(job, runner, now), job), previous)
            except RowChanged:
                await back_off()
        raise storage_unavailable("a job's row kept changing")

    def hold(self, job: Job) -> Lease:
        """The lease of a job that was claimed, or born with a runner: `async with store.hold(job) as lease`."""
        return Lease(self, job)

    async def update(self, job: Job, **changes: Any) -> Job:
        """Change what a runner may change, and renew the lease. `job` must be under the caller's lease.

        Raises `lease_lost` when the lease is another's now, `job_ended` when the job ended, ValueError for a move of
        the phase that is not legal.
        """
        unknown = changes.keys() - _RUNNERS_FIELDS
        if unknown:
            raise ValueError(f"not for a runner to change: {', '.join(sorted(unknown))}")
        until = self.clock() + LEASE
        return await self._change(job, lambda current: current.moved(Status.RUNNING, **changes, lease_until=until))

    async def begin_call(self, job: Job, deployment: str, region: str | None = None) -> Job:
        """Note that a call begins: from here on the runner's death leaves its outcome unknown.

        The call counts against the job until `uncount_call` takes that back, and uses up the slot on the row. Raises
        `canceled` when a cancel reached the row before this did.
        """
        now = self.clock()

        def begin(current: Job) -> Job:
            if current.cancel_requested:
                raise DarkroomError("canceled", "The job was canceled before the model was called.")
            # Counted from the caller's copy: written twice, after a lost answer, this still counts once.
            return current.moved(
                Status.RUNNING,
                phase=Phase.CALLING,
                deployment=deployment,
                region=region,
                slot_at=None,
                call_started_at=now,
                calls=job.calls + 1,
                attempts=job.attempts + 1,
                lease_until=now + LEASE,
            )

        return await self._change(job, begin)

    async def uncount_call(self, job: Job) -> Job:
        """Note that the call was refused unheard (429, 503, not connected): nothing is under way, nothing counted."""
        return await self.update(job, phase=Phase.WAITING, call_started_at=None, attempts=max(job.attempts - 1, 0))

    async def give_back(
        self, job: Job, *, wake_at: datetime, slot_at: datetime | None = None, deployment: str | None = None
    ) -> Job:
        """Free the lease and queue the job again, for the message that becomes visible at `wake_at`."""

        def free(current: Job) -> Job:
            return current.moved(
                Status.QUEUED,
                phase=Phase.WAITING,
                wake_at=wake_at,
                slot_at=slot_at,
                deployment=deployment,
                region=None,
                call_started_at=None,
                lease_owner=None,
                lease_until=None,
            )

        return await self._change(
            job, free, done=lambda current: current.lease_owner is None and current.wake_at == wake_at
        )

    async def finish(
        self, job: Job, status: Status, *, error: Mapping[str, Any] | None = None, due: datetime | None = None
    ) -> tuple[Job, tuple[OutboxEntry, ...]]:
        """End the job: one transaction writes its end, takes away `l:`, counts it in its batch and puts what is to be
        told of it into the outbox, its event first, due at `due` (default now). `job` must be under the caller's lease.

        A lease that ran out does not keep a job from its end: as long as the row is this runner's, nobody else has
        begun, and the images are paid for. Raises `lease_lost` or `job_ended` when another was faster.
        """
        if not status.ended:
            raise ValueError(f"{status} is no end")
        now = self.clock()
        event = OutboxEntry(job.id, due or now)
        told = (event, replace(event, what=What.CALLBACK)) if job.callback else (event,)
        whole = replace(event, job_id=job.batch or "", what=What.BATCH)
        live = {"PartitionKey": PARTITION, "RowKey": f"l:{job.id}"}
        entries = told

        def end(current: Job) -> Job:
            return current.moved(status, error=error, finished_at=now, lease_until=None, slot_at=None)

        def ours(current: Job) -> bool:
            return (current.lease_owner, current.status) == (job.lease_owner, status)

        async def beside() -> tuple[Change, ...]:
            nonlocal entries
            batch = await self.batch(job.batch) if job.batch else None
            after = batch.counted(status, now) if batch else None
            entries = (*told, whole) if after and after.finished_at == now else told
            counted = (Change("replace", after.row(), batch.etag),) if batch and after else ()
            return Change("delete", live), *counted, *(Change("insert", entry.row()) for entry in entries)

        ended = await self._change(job, end, done=ours, beside=beside)
        # An end that an earlier, unanswered `finish` wrote was counted by it: `beside` has just counted it once more,
        # and what that says of the batch is not so. Its event, if it is due, is in the outbox.
        return ended, entries if ended.finished_at == now else told

    async def batch(self, batch_id: str) -> batches.Batch | None:
        found = await self._rows.get(PARTITION, batches.key(batch_id))
        return None if found is None else batches.from_row(*found)

    async def request_cancel(self, job_id: str) -> Job:
        """Put the wish to cancel on the job; its runner sees it. Raises `not_found` or `job_ended`."""

        def ask(current: Job) -> Job:
            if current.ended:
                raise job_ended(current)
            return current if current.cancel_requested else replace(current, cancel_requested=True)

        return await self._change_freely(job_id, ask)

    async def add_token(self, job_id: str, token_hash: str) -> Job:
        """Let one more poll token open the job; the last 8 do. Raises `not_found`."""

        def add(current: Job) -> Job:
            if token_hash in current.token_hashes:
                return current
            return replace(current, token_hashes=(*current.token_hashes, token_hash)[-KEPT_TOKENS:])

        return await self._change_freely(job_id, add)

    async def woken(self, job_id: str, wake_at: datetime) -> Job:
        """Note that another message for a queued job becomes visible at `wake_at`; a job that left the queue stays."""

        def wake(current: Job) -> Job:
            return replace(current, wake_at=wake_at) if current.status is Status.QUEUED else current

        return await self._change_freely(job_id, wake)

    async def mark_purged(self, job_id: str) -> Job:
        """Note that the job's files are being removed, and take from its row what may quote its prompt; a job that is
        marked stays as it is. Raises `not_found`, ValueError for a job that has not ended."""

        def mark(current: Job) -> Job:
            if not current.ended:
                raise ValueError("only an ended job can be purged")
            if current.purged_at is not None:
                return current
            return replace(current, purged_at=self.clock(), error=error_without_words(current.error))

        return await self._change_freely(job_id, mark)

    async def live(self, *, created_before: datetime | None = None) -> AsyncIterator[Job]:
        """Every job that has not ended, the newest first: for finding those that nobody runs and no message wakes."""
        low = f"l:{first_id_before(created_before)}" if created_before else "l:"
        ids: list[str] = []
        async for row in self._rows.between(PARTITION, low, "l;"):
            ids.append(str(row["RowKey"]).removeprefix("l:"))
            if len(ids) == _LIVE_READS:
                for job in await self._read_live(ids):
                    yield job
                ids = []
        for job in await self._read_live(ids):
            yield job

    async def _read_live(self, ids: list[str]) -> list[Job]:
        jobs = await asyncio.gather(*(self.get(job_id) for job_id in ids))
        return [job for job in jobs if job is not None and not job.ended]

    async def _require(self, job_id: str) -> Job:
        job = await self.get(job_id)
        if job is None:
            raise DarkroomError("not_found", "There is no such job.")
        return job

    async def _write(
        self, job: Job, before: Job, beside: Callable[[], Awaitable[tuple[Change, ...]]] | None = None
    ) -> Job:
        assert before.etag is not None, "a job that was read or written by the store has an ETag"
        if beside is None:
            return replace(job, etag=await self._rows.replace(row_of(job), before.etag))
        etags = await self._rows.commit([Change("replace", row_of(job), before.etag), *await beside()])
        return replace(job, etag=etags[0])

    async def _change(
        self,
        job: Job,
        change: Callable[[Job], Job],
        *,
        done: Callable[[Job], bool] | None = None,
        beside: Callable[[], Awaitable[tuple[Change, ...]]] | None = None,
    ) -> Job:
        """Write `change` of a job under the caller's lease, again on the newer row while the lease is the caller's.

        `done` knows a newer row on which this change was made already (its answer was lost). `beside` gives the changes
        of other rows that belong to it, asked anew for each try.
        """
        current, wanted = job, None
        for _ in range(CONFLICT_TRIES):
            if current is not job:
                if current.same_as(wanted) or (done is not None and done(current)):
                    return current
                if current.ended:
                    raise job_ended(current)
            if job.lease_owner is None or current.lease_owner != job.lease_owner:
                raise DarkroomError("lease_lost", "Another runner has this job now.")
            wanted = change(current)
            try:
                return await self._write(wanted, current, beside)
            except (RowChanged, RowExists):
                await back_off()
                current = await self._require(job.id)
        raise storage_unavailable("a job's row kept changing")

    async def _change_freely(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        """Write `change` of a job, whoever has it; a change that changes nothing writes nothing."""
        for _ in range(CONFLICT_TRIES):
            current = await self._require(job_id)
            wanted = change(current)
            if wanted is current:
                return current
            try:
                return await self._write(wanted, current)
            except RowChanged:
                await back_off()
        raise storage_unavailable("a job's row kept changing")


def job_ended(job: Job) -> DarkroomError:
    return DarkroomError("job_ended", f"The job has ended already: {job.status}.")
