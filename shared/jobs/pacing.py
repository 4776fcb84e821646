"""Pacing: whose turn it is to call a deployment, agreed among all instances.

Who comes in: the pipeline, before each call. One row of table `pacing` for each deployment (partition `pacing`) holds
what `rate` computes with; a reservation is one write of it under If-Match, so two instances never get the same slot.

1. `reserve` gives a slot at most 60 s ahead, or says when to come back;
2. `take_turn` waits for it and asks the row once more right before the call, because a 429 that another call met
   meanwhile voids it;
3. after the call `blocked` tells everyone of a 429 or 503, `out` of a deployment that refuses this app.

Slots are times, so instances have to agree on the time. They do within milliseconds on Azure; the Date header of
storage, with its resolution of a second, would be the worse clock. A skew acts like a slot used late or early: up to
the slack of 2 % nothing notices, beyond it the service answers 429 and the intervals are stretched.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.jobs.job import Job
from shared.jobs.rate import HORIZON, SOON, Record, Slot, fingerprint, is_void, make_slot
from shared.jobs.rows import (
    CONFLICT_TRIES,
    Clock,
    Row,
    RowChanged,
    RowExists,
    Rows,
    back_off,
    escape_key,
    from_text,
    storage_unavailable,
    to_text,
    utc_now,
)
from shared.settings import Deployment

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

__all__ = ["DeploymentState", "Later", "Pacer", "Slot", "fingerprint", "is_void", "slot_of"]

PARTITION = "pacing"
# Those who found no slot come back spread over half a minute: soon enough that the minute ahead never runs empty.
COME_BACK_SECONDS = (15.0, 45.0)
CONTENDED_SECONDS = (1.0, 3.0)
# The row is asked this long before the slot, so that the answer is there when the slot is.
ASK_AHEAD = timedelta(milliseconds=100)
# A late slot that is moved is moved a little ahead: writing that down takes time too.
MOVE_AHEAD = timedelta(milliseconds=50)
# Reservations that an instance makes at the same time: one that hangs must not hold up the rest.
_AT_ONCE = 2
_TURN_TRIES = 5
_TIMES = ("next_at", "blocked_until", "stretched_until", "out_since")
_TEXTS = ("out_reason", "out_fingerprint", "reserved_by")


@dataclass(frozen=True, slots=True)
class Later:
    """No slot near enough: come back at `at`. `deployment` had the earliest one, at `earliest`; None: not known."""

    at: datetime
    deployment: str
    earliest: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """What health shows of a deployment. A time that has passed is None."""

    name: str
    next_at: datetime | None
    blocked_until: datetime | None
    stretched_until: datetime | None
    out_reason: str | None
    out_since: datetime | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A record as it was read; `etag` None: there is no row yet."""

    name: str
    record: Record
    etag: str | None


def slot_of(job: Job, deployments: Sequence[Deployment], *, images: int = 1) -> Slot | None:
    """The slot a job was given back with, for the delivery that comes to use it; None without one."""
    if job.slot_at is None:
        return None
    deployment = next((entry for entry in deployments if entry.name == job.deployment), None)
    return None if deployment is None else make_slot(deployment, job.slot_at, images)


class Pacer:
    """Raises `storage_unavailable` when storage does not answer: then no call goes out."""

    def __init__(
        self,
        table: TableClient,
        *,
        clock: Clock = utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rows = Rows(table)
        self._clock = clock
        self._sleep = sleep
        # More of one instance would only be in each other's way; other instances are met by the row's ETag.
        self._reserving = asyncio.Semaphore(_AT_ONCE)

    async def reserve(
        self, deployments: Sequence[Deployment], *, images: int = 1, horizon: timedelta = HORIZON
    ) -> Slot | Later:
        """A slot of the first of `deployments` (best first) that has one within 10 s, else of that with the earliest.

        None is more than `horizon` ahead. What can come back leaves it at a minute; what cannot, a caller who waits,
        takes one as far as it has patience: else it would find the minute filled by a backlog each time it asked.

        Raises `deployment_unavailable` when every one of them refused this app.
        """
        async with self._reserving:
            return await self._reserve(deployments, images, horizon)

    async def _reserve(self, deployments: Sequence[Deployment], images: int, horizon: timedelta) -> Slot | Later:
        writer = secrets.token_hex(8)
        wanted: Slot | None = None
        for _ in range(CONFLICT_TRIES):
            offers = await self._offers(deployments)
            if wanted is not None and any(
                known.record.reserved_by == writer and known.record.ends_with(wanted) for _, known in offers
            ):
                return wanted
            now = self._clock()
            deployment, known = _choose(offers, now)
            at = known.record.earliest(now)
            if at - now > horizon:
                return Later(max(now, at - horizon) + _spread(COME_BACK_SECONDS), deployment.name, at)
            wanted, record = known.record.reserve(deployment, now, images, writer)
            if await self._wrote(replace(known, record=record)):
                return wanted
            await back_off()
        return Later(self._clock() + _spread(CONTENDED_SECONDS), deployment.name)

    async def estimate_wait(self, deployments: Sequence[Deployment]) -> timedelta | None:
        """How long a reservation made now would wait, without making one; None when every deployment is out.

        The same for any number of images: they delay those who come after.
        """
        try:
            offers = await self._offers(deployments)
        except DarkroomError as error:
            if error.code == "deployment_unavailable":
                return None
            raise
        now = self._clock()
        return _choose(offers, now)[1].record.earliest(now) - now

    async def take_turn(self, slot: Slot) -> bool:
        """Wait for the slot and say whether it is still good. True: call now. False: reserve anew."""
        for _ in range(_TURN_TRIES):
            await self._wait_until(slot.at - ASK_AHEAD)
            confirmed = await self._confirm(slot)
            if confirmed is None:
                return False
            slot = confirmed
            await self._wait_until(slot.at)
            if self._clock() - slot.at <= slot.tolerance:
                return True
        return False

    async def _confirm(self, slot: Slot) -> Slot | None:
        """The slot if a call may go out for it: neither void nor blocked, its deployment not out.

        One that is late by more than its tolerance is good only while no other follows it: it is then moved.
        """
        for _ in range(CONFLICT_TRIES):
            known = await self._read(slot.deployment)
            now = self._clock()
            if is_void(slot, now) or known.record.voids(slot) or known.record.out_fingerprint is not None:
                return None
            if now - slot.at <= slot.tolerance:
                return slot
            if not known.record.ends_with(slot):
                return None
            moved = replace(slot, at=now + MOVE_AHEAD)
            if await self._wrote(replace(known, record=replace(known.record, next_at=moved.at + moved.interval))):
                return moved
            await back_off()
        return None

    async def give_up(self, slot: Slot) -> None:
        """Give back a slot that will not be used, if no other follows it yet. Otherwise it goes by."""
        known = await self._read(slot.deployment)
        if known.record.ends_with(slot):
            await self._wrote(replace(known, record=replace(known.record, next_at=slot.at)))

    async def blocked(self, deployment: Deployment, until: datetime, *, slot: Slot | None = None) -> None:
        """Tell everyone that the service asked to wait until `until`: slots before it are void.

        Pass the slot of a call that met a 429: an unexplained one stretches the intervals for 10 minutes. A 503 says
        nothing about the rate: pass none.
        """
        await self._change(deployment.name, lambda record: record.blocked(deployment, until, slot, self._clock()))

    async def out(self, deployment: Deployment, reason: str) -> None:
        """Call the deployment no more until its configuration changes or ten minutes have passed. `reason` is a short
        text for health."""
        await self._change(
            deployment.name,
            lambda record: replace(
                record, out_reason=reason[:500], out_fingerprint=fingerprint(deployment), out_since=self._clock()
            ),
        )

    async def view(self, deployments: Sequence[Deployment]) -> list[DeploymentState]:
        """The state of each deployment, for health."""
        return [self._state(deployment, (await self._read(deployment.name)).record) for deployment in deployments]

    def _state(self, deployment: Deployment, record: Record) -> DeploymentState:
        now = self._clock()
        is_out = record.is_out(deployment, now)

        def ahead(time: datetime | None) -> datetime | None:
            return time if time is not None and time > now else None

        return DeploymentState(
            deployment.name,
            ahead(record.next_at),
            ahead(record.blocked_until),
            ahead(record.stretched_until),
            record.out_reason if is_out else None,
            record.out_since if is_out else None,
        )

    async def _offers(self, deployments: Sequence[Deployment]) -> list[tuple[Deployment, _Known]]:
        """The deployments that are not out, read up to the first with a slot soon; raises when there is none."""
        offers = []
        for deployment in deployments:
            known = await self._read(deployment.name)
            now = self._clock()
            if known.record.is_out(deployment, now):
                continue
            offers.append((deployment, known))
            if known.record.earliest(now) - now <= SOON:
                break
        if not offers:
            raise DarkroomError(
                "deployment_unavailable",
                "Every deployment of this model refuses this app; see /api/health/details.",
            )
        return offers

    async def _wait_until(self, time: datetime) -> None:
        while (left := (time - self._clock()).total_seconds()) > 0:
            await self._sleep(left)

    async def _change(self, name: str, change: Callable[[Record], Record]) -> None:
        for _ in range(CONFLICT_TRIES):
            known = await self._read(name)
            if await self._wrote(replace(known, record=change(known.record))):
                return
            await back_off()
        raise storage_unavailable("a pacing row kept changing")

    async def _read(self, name: str) -> _Known:
        found = await self._rows.get(PARTITION, escape_key(name))
        return _Known(name, Record(), None) if found is None else _Known(name, _record(found[0]), found[1])

    async def _wrote(self, known: _Known) -> bool:
        """Write the record in the place of what was read; False when another instance was faster."""
        row = _row(known.name, known.record)
        try:
            if known.etag is None:
                await self._rows.insert(row)
            else:
                await self._rows.replace(row, known.etag)
        except (RowChanged, RowExists):
            return False
        return True


def _choose(offers: list[tuple[Deployment, _Known]], now: datetime) -> tuple[Deployment, _Known]:
    """The last one read if it has a slot soon (reading stopped there), else the one with the earliest."""
    last = offers[-1]
    if last[1].record.earliest(now) - now <= SOON:
        return last
    return min(offers, key=lambda offer: offer[1].record.earliest(now))


def _spread(seconds: tuple[float, float]) -> timedelta:
    return timedelta(seconds=random.uniform(*seconds))  # noqa: S311 - spreads load, guards nothing


def _row(name: str, record: Record) -> Row:
    row: dict[str, Any] = {"PartitionKey": PARTITION, "RowKey": escape_key(name)}
    row |= {field: to_text(getattr(record, field)) for field in _TIMES}
    return row | {field: getattr(record, field) for field in _TEXTS}


def _record(row: Row) -> Record:
    values: dict[str, Any] = {field: from_text(row.get(field)) for field in _TIMES}
    return Record(**values, **{field: row.get(field) for field in _TEXTS})
