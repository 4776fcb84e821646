"""The arithmetic of pacing: when a deployment's next call may go out. Pure: no storage, no clock.

The generic cell rate algorithm (ITU-T I.371, as a virtual schedule) without burst: a record holds the earliest time of
the next slot, and each reservation moves it on by one interval. The interval is 2 % longer than the quota asks,
because a window that polices the quota sees the calls arrive a little off their slots (design section 6).

The service polices in windows shorter than the minute, of 1 s or 10 s
(https://learn.microsoft.com/azure/ai-services/openai/how-to/quota#understanding-rate-limits), each allowing its share
of the minute rounded up. A slot may be used late by half of what none of those windows can notice; the other half is
left to the way to the service. Below 25 ms that is idle precision: a new connection varies by more.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from shared.settings import Deployment

SLACK = 1.02
HORIZON = timedelta(seconds=60)
SOON = timedelta(seconds=10)
STRETCH = 1.5
STRETCH_FOR = timedelta(minutes=10)
OUT_FOR = timedelta(minutes=10)
POLICED_WINDOWS = (1.0, 10.0, 60.0)
LEAST_TOLERANCE = 0.025


@dataclass(frozen=True, slots=True)
class Slot:
    """A deployment's turn: one call of `images` images at `at`, with nothing else for `interval` after it.

    `tolerance` is how much later than `at` the call may go out without coming too close to the next one.
    """

    deployment: str
    at: datetime
    interval: timedelta
    tolerance: timedelta
    images: int = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What all instances share about a deployment. `reserved_by` marks the last reservation's writer.

    Slots before `blocked_until` are void. Until `stretched_until` intervals are longer. A deployment that refused
    this app is out while its configuration still has the fingerprint `out_fingerprint`.
    """

    next_at: datetime | None = None
    blocked_until: datetime | None = None
    stretched_until: datetime | None = None
    out_reason: str | None = None
    out_fingerprint: str | None = None
    out_since: datetime | None = None
    reserved_by: str | None = None

    def is_out(self, deployment: Deployment, now: datetime) -> bool:
        """Whether the deployment refused this app lately. A role takes minutes to reach every part of the service, so
        after `OUT_FOR` one call finds out whether it still does; a refused call costs nothing."""
        lately = self.out_since is None or now < self.out_since + OUT_FOR
        return lately and self.out_fingerprint == fingerprint(deployment)

    def is_stretched(self, now: datetime) -> bool:
        return self.stretched_until is not None and now < self.stretched_until

    def earliest(self, now: datetime) -> datetime:
        """When the next slot would be."""
        return max(time for time in (now, self.next_at, self.blocked_until) if time is not None)

    def reserve(self, deployment: Deployment, now: datetime, images: int, writer: str) -> tuple[Slot, Record]:
        """The next slot, and the record without it."""
        slot = make_slot(deployment, self.earliest(now), images, stretched=self.is_stretched(now))
        record = replace(self, next_at=slot.at + slot.interval, reserved_by=writer)
        if not self.is_out(deployment, now):
            record = replace(record, out_reason=None, out_fingerprint=None, out_since=None)
        return slot, record

    def voids(self, slot: Slot) -> bool:
        return self.blocked_until is not None and slot.at < self.blocked_until

    def ends_with(self, slot: Slot) -> bool:
        """Whether no slot was reserved after `slot`."""
        return self.next_at == slot.at + slot.interval

    def blocked(self, deployment: Deployment, until: datetime, slot: Slot | None, now: datetime) -> Record:
        """The record after the service said to wait until `until`.

        `slot` is that of a call which kept to it and was refused for its rate. When no block explains that (calls of
        the same moment, sent before the first refusal came back), someone else uses the quota or it is smaller than
        configured: intervals are stretched for a while.
        """
        record = replace(self, blocked_until=max(until, self.blocked_until or until))
        if slot is None or self.voids(slot):
            return record
        stretched = make_slot(deployment, slot.at, slot.images, stretched=True)
        next_at = max(slot.at + stretched.interval, self.next_at or slot.at)
        return replace(record, stretched_until=now + STRETCH_FOR, next_at=next_at)


def make_slot(deployment: Deployment, at: datetime, images: int = 1, *, stretched: bool = False) -> Slot:
    """A slot at `at` with the interval that the deployment's quotas ask for."""
    seconds = 60.0 / deployment.requests_per_minute
    if deployment.images_per_minute:
        seconds = max(seconds, 60.0 * images / deployment.images_per_minute)
    interval = seconds * SLACK * (STRETCH if stretched else 1.0)
    if deployment.images_per_minute:
        # Calls of different size have different intervals: no window's share can be counted in calls.
        unnoticed = interval - seconds
    else:
        unnoticed = min(math.ceil(window / seconds) * interval - window for window in POLICED_WINDOWS)
    tolerance = min(max(unnoticed / 2, LEAST_TOLERANCE), interval / 2)
    return Slot(deployment.name, at, timedelta(seconds=interval), timedelta(seconds=tolerance), images)


def is_void(slot: Slot, now: datetime) -> bool:
    """Whether the slot went by unused: half an interval after it."""
    return now > slot.at + slot.interval / 2


def fingerprint(deployment: Deployment) -> str:
    """A short hash of the deployment's whole configuration."""
    return hashlib.sha256(json.dumps(asdict(deployment), sort_keys=True).encode()).hexdigest()[:16]
