"""Batches in Table Storage: accepted once, each request made into one job, canceled as a whole.

Who comes in: the pipeline, for the batch door and for the queue function that fans batches out. Rows of table `jobs`:

- `b:<id>` of partition `jobs` the batch, which counts its ends (`batch`);
- `n:<id>` of partition `jobs` what is still to be done for it: its requests are being made into jobs, or its jobs are
  being canceled. It names who does it and until when, so that a batch nobody works at is found in a range;
- `c:<index>` of partition `<batch>` the id of a job, written before anything of that job is.

`n:` says how many of the requests are `made`, and moves in the very transaction that writes their jobs: a job is there
exactly when `made` is past it, whoever dies where, and however often a batch is fanned out. A cancel changes `n:` as
well; no job is made after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.jobs import batch as batches
from shared.jobs import queue as queues
from shared.jobs.batch import OVERDUE, Batch, Work
from shared.jobs.job import LEASE, Job, Status, error_summary, is_id
from shared.jobs.outbox import PARTITION, OutboxEntry, What
from shared.jobs.records import row_of
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
    from azure.storage.queue.aio import QueueClient

MOST_REQUESTS = 1_000
MOST_AT_ONCE = 24
"""Jobs made in one transaction: each takes up to three of the 100 rows it may have (job, event, callback)."""


class BatchStore:
    """The rows above. Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, table: TableClient, *, clock: Clock = utc_now) -> None:
        self._rows = Rows(table)
        self.clock = clock

    async def create(self, batch: Batch) -> Batch:
        """Write a new batch, to be fanned out; when its id is there already, return that one."""
        work = Work(batch.id, batch.total, batch.folder, self.clock() + OVERDUE)
        try:
            await self._rows.commit([Change("insert", batch.row()), Change("insert", work.row())])
        except RowExists:
            return await self._batch(batch.id)
        return batch

    async def take(self, batch_id: str, runner: str) -> Work | None:
        """The batch's work for `runner` (a name of `new_runner`) for 60 s; None if there is none or another has it."""
        for _ in range(CONFLICT_TRIES):
            work = await self._work(batch_id)
            if work is None or (work.runner != runner and not work.free(self.clock())):
                return None
            try:
                return await self._write(replace(work, runner=runner, until=self.clock() + LEASE), work)
            except RowChanged:
                await back_off()
        raise storage_unavailable("a batch's row kept changing")

    async def renew(self, work: Work) -> Work:
        """Another 60 s. Raises `lease_lost`."""
        return await self._change(work, lambda current: replace(current, until=self.clock() + LEASE))

    async def release(self, work: Work) -> Work:
        """Leave the work to whom the next message reaches. Raises `lease_lost`."""
        until = self.clock() + OVERDUE
        return await self._change(work, lambda current: replace(current, runner=None, until=until))

    async def claim(self, batch_id: str, start: int, ids: Sequence[str]) -> list[str]:
        """The ids of the jobs from index `start` on: `ids`, or what an earlier run had claimed, perhaps fewer."""
        rows = [
            {"PartitionKey": batch_id, "RowKey": _child(start + place), "job_id": one} for place, one in enumerate(ids)
        ]
        try:
            await self._rows.commit([Change("insert", row) for row in rows])
        except RowExists:
            found = await self.children(batch_id, start, start + len(ids))
            if start not in found:
                raise storage_unavailable("the rows of a batch came and went") from None
            return [found[index] for index in range(start, start + len(found)) if index in found]
        return list(ids)

    async def children(self, batch_id: str, start: int = 0, end: int = MOST_REQUESTS) -> dict[int, str]:
        """Index -> id of the jobs that were claimed, `start` <= index < `end`."""
        rows = self._rows.between(batch_id, _child(start), f"c:{end - 1:04d}~")
        return {int(str(row["RowKey"]).removeprefix("c:")): str(row["job_id"]) async for row in rows}

    async def forget(self, batch_id: str, start: int) -> None:
        """Take away the claims from index `start` on: of jobs that were never made."""
        await self._rows.delete_range(batch_id, _child(start), "c;")

    async def make(self, work: Work, jobs: Sequence[Job], *, due: datetime) -> tuple[Work, tuple[OutboxEntry, ...]]:
        """Write the next jobs of the batch, those that have ended already (their request was refused) with their end
        counted and put into the outbox, due at `due`.

        Nothing is written when the batch is being canceled: `made` is then as before. Raises `lease_lost`.
        """
        ended = [job for job in jobs if job.ended]
        told = tuple(entry for job in ended for entry in _told(job, due))
        born = [change for job in jobs for change in _born(job)]
        for _ in range(CONFLICT_TRIES):
            if work.canceling:
                return work, ()
            now = self.clock()
            after = replace(work, made=work.made + len(jobs), until=now + LEASE)
            changes, entries = [_moved(work, after), *born], told
            if ended:
                batch = await self._batch(work.batch_id)
                counted = batch.counted(Status.FAILED, now, len(ended))
                changes.append(Change("replace", counted.row(), batch.etag))
                entries = (*told, *_told_whole(counted, due))
            try:
                etags = await self._rows.commit([*changes, *(Change("insert", entry.row()) for entry in entries)])
            except (RowChanged, RowExists):
                await back_off()
                work = _ours(await self._work(work.batch_id), work)
                if work.made == after.made:
                    return work, entries  # our own write, whose answer was lost
                continue
            return replace(after, etag=etags[0]), entries
        raise storage_unavailable("a batch's row kept changing")

    async def cancel(self, batch_id: str, *, due: datetime) -> tuple[Batch, tuple[OutboxEntry, ...]]:
        """Note the wish to cancel: requests that are no jobs yet never will be, and are counted as canceled at once;
        what was made is work to be done. Raises `not_found`, `batch_ended`."""
        tried = False
        for _ in range(CONFLICT_TRIES):
            batch = await self._batch(batch_id)
            if batch.finished_at is not None and not (tried and batch.cancel_requested):
                raise DarkroomError("batch_ended", "The batch has ended already: all its jobs have.", param="id")
            if batch.cancel_requested:
                return batch, ()  # asked for before, or just now and the answer was lost
            tried = True
            work, now = await self._work(batch_id), self.clock()
            left = work.total - work.made if work else 0
            after = replace(batch, cancel_requested=True)
            after = after.counted(Status.CANCELED, now, left) if left else after
            again = Work(batch_id, batch.total, batch.folder, now + OVERDUE, made=batch.total, canceling=True)
            asked = _moved(work, replace(work, canceling=True)) if work else Change("insert", again.row())
            entries = _told_whole(after, due)
            changes = [Change("replace", after.row(), batch.etag), asked]
            try:
                etags = await self._rows.commit([*changes, *(Change("insert", entry.row()) for entry in entries)])
            except (RowChanged, RowExists):
                await back_off()
                continue
            return replace(after, etag=etags[0]), entries
        raise storage_unavailable("a batch's row kept changing")

    async def done(self, work: Work) -> Work | None:
        """The work is over, and None; or what is to be done now, since a cancel was asked for. Raises `lease_lost`."""
        for _ in range(CONFLICT_TRIES):
            assert work.etag is not None, "work that was read has an ETag"
            if await self._rows.delete_unchanged(PARTITION, batches.work_key(work.batch_id), work.etag):
                return None
            found = _ours(await self._work(work.batch_id), work)
            if found.canceling != work.canceling:
                return found
            work = found
        raise storage_unavailable("a batch's row kept changing")

    async def overdue(self) -> AsyncIterator[str]:
        """The batches that somebody should work at and nobody does; each is given once in two minutes."""
        now = self.clock()
        async for row in self._rows.between(PARTITION, "n:", "n;"):
            work = Work.from_row(row)
            if work.overdue(now) and (current := await self._work(work.batch_id)) and current.overdue(now):
                try:
                    await self._write(replace(current, runner=None, until=now + OVERDUE), current)
                except RowChanged:
                    continue  # somebody has just begun
                yield work.batch_id

    async def _batch(self, batch_id: str) -> Batch:
        found = await self._rows.get(PARTITION, batches.key(batch_id))
        if found is None:
            raise DarkroomError("not_found", "There is no such batch.", param="id")
        return batches.from_row(*found)

    async def _work(self, batch_id: str) -> Work | None:
        found = await self._rows.get(PARTITION, batches.work_key(batch_id))
        return None if found is None else Work.from_row(*found)

    async def _write(self, work: Work, before: Work) -> Work:
        assert before.etag is not None, "work that was read has an ETag"
        return replace(work, etag=await self._rows.replace(work.row(), before.etag))

    async def _change(self, work: Work, change: Callable[[Work], Work]) -> Work:
        """Write `change`, again on the newer row while the work is the caller's."""
        for _ in range(CONFLICT_TRIES):
            try:
                return await self._write(change(work), work)
            except RowChanged:
                await back_off()
                work = _ours(await self._work(work.batch_id), work)
        raise storage_unavailable("a batch's row kept changing")


class BatchQueue:
    """Queue `image-batches`: messages `{"batch_id": "..."}`."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def submit(self, batch_id: str, delay: float = 0.0) -> None:
        """Have the batch worked at, after `delay` seconds."""
        await queues.send(self._queue, {"batch_id": batch_id}, delay)


def batch_of(message: Mapping[str, Any]) -> str | None:
    """The batch of a message; None for one that is none of ours."""
    batch_id = message.get("batch_id")
    return batch_id if isinstance(batch_id, str) and is_id(batch_id) else None


def stillborn(job: Job, error: DarkroomError, now: datetime) -> Job:
    """A new job that has failed before anybody could run it: what its request names cannot be used."""
    return replace(job, wake_at=None, status=Status.FAILED, error=error_summary(error.to_row()), finished_at=now)


def _child(index: int) -> str:
    return f"c:{index:04d}"


def _ours(found: Work | None, before: Work) -> Work:
    if found is None or found.runner != before.runner:
        raise DarkroomError("lease_lost", "Another runner has this batch now.")
    return found


def _moved(before: Work, after: Work) -> Change:
    return Change("replace", after.row(), before.etag)


def _born(job: Job) -> tuple[Change, ...]:
    row = Change("insert", row_of(job))
    return (row,) if job.ended else (row, Change("insert", {"PartitionKey": PARTITION, "RowKey": f"l:{job.id}"}))


def _told(job: Job, due: datetime) -> tuple[OutboxEntry, ...]:
    event = OutboxEntry(job.id, due)
    return (event, replace(event, what=What.CALLBACK)) if job.callback else (event,)


def _told_whole(batch: Batch, due: datetime) -> tuple[OutboxEntry, ...]:
    return (OutboxEntry(batch.id, due, what=What.BATCH),) if batch.finished_at is not None else ()
