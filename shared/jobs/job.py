"""A job: its id, its states and legal moves, and what its row holds.

Pure: no storage, and no clock of its own. `store` writes these to Table Storage; the pipeline reads them. Large things
(the request, sources, results) are blobs and not in here (design section 5).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

LEASE = timedelta(seconds=60)
KEPT_TOKENS = 8
_MAX_ERROR_TEXT = 8_000
_MAX_ERROR_MESSAGE = 2_000

# RFC 4648 "extended hex" in lower case: the base32 alphabet whose characters sort as their values do.
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_ID_LENGTH = 26
ANY_ID = ("0", "{")
"""The range of all ids, and of keys that begin with one: from the first digit to behind the last letter."""
_ID = re.compile(f"[0-7][{_ALPHABET}]{{25}}", re.ASCII)
_END_OF_TIME = 2**48 - 1
_RANDOM_BITS = 80
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


class Phase(StrEnum):
    """What a job that has not ended is doing."""

    WAITING = "waiting"
    CALLING = "calling"
    STORING = "storing"


class Door(StrEnum):
    """How the job came in; it decides what a dead runner's call means (design section 6)."""

    HTTP = "http"
    JOBS = "jobs"
    QUEUE = "queue"
    UPLOAD = "upload"
    BATCH = "batch"


_MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.QUEUED, Status.RUNNING}),
    Status.RUNNING: frozenset(Status),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}
_PHASE_MOVES: dict[Phase | None, frozenset[Phase]] = {
    None: frozenset({Phase.WAITING, Phase.CALLING}),
    Phase.WAITING: frozenset({Phase.WAITING, Phase.CALLING}),
    Phase.CALLING: frozenset(Phase),
    Phase.STORING: frozenset({Phase.STORING, Phase.WAITING}),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its row has it. Times are aware and in UTC.

    `attempt` counts the leases that began anew (1, and one more at each take-over): no two runners share one, so the
    names of results hold it. `attempts` counts the calls that count against the job; `calls` numbers every call that
    was begun, refused ones too, and names ledger rows. `wake_at` is when the message for a queued job becomes visible:
    long after it, the message is lost. `possibly_billed` is what earlier calls of unknown outcome may have cost
    (decimal text; empty where that is not known). `lease_owner` stays after the end, as the runner that ended the job.
    `callback`: a URL is to be told of the end. `idempotency` is the row key of the claim that made the job (partition
    `owner`), empty without one; it goes with the job. `purged_at` is when everything but this row and the ledger was
    removed. `traceparent` is the trace of the request that made the job (W3C), empty without one.
    """

    id: str
    kind: str
    door: Door
    owner: str
    status: Status
    created_at: datetime
    batch: str | None = None
    phase: Phase | None = None
    attempt: int = 0
    attempts: int = 0
    calls: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wake_at: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    slot_at: datetime | None = None
    deployment: str | None = None
    region: str | None = None
    call_started_at: datetime | None = None
    cancel_requested: bool = False
    token_hashes: tuple[str, ...] = ()
    request_hash: str = ""
    possibly_billed: str = "0"
    error: Mapping[str, Any] | None = None
    callback: bool = False
    idempotency: str = ""
    purged_at: datetime | None = None
    traceparent: str = ""
    etag: str | None = None

    @property
    def ended(self) -> bool:
        return self.status.ended

    def moved(self, status: Status, **changes: Any) -> Job:
        """The job after the move to `status`; raises ValueError when that move, or that of the phase, is not legal."""
        if status not in _MOVES[self.status]:
            raise ValueError(f"a job that is {self.status} does not become {status}")
        phase = changes.get("phase", self.phase)
        if status.ended:
            changes["phase"] = None
        elif status is self.status and phase is not self.phase and phase not in _PHASE_MOVES[self.phase]:
            raise ValueError(f"a job in phase {self.phase} does not go to {phase}")
        if "error" in changes:
            changes["error"] = error_summary(changes["error"])
        return replace(self, status=status, **changes)

    def same_as(self, other: Job | None) -> bool:
        """Whether both say the same, whichever write they come from."""
        return other is not None and replace(self, etag=None) == replace(other, etag=None)


def new_job(
    *,
    kind: str,
    door: Door,
    owner: str,
    now: datetime,
    id: str | None = None,  # noqa: A002 - the field's name
    request_hash: str = "",
    batch: str | None = None,
    token_hashes: tuple[str, ...] = (),
    callback: bool = False,
    idempotency: str = "",
    runner: str | None = None,
    traceparent: str = "",
) -> Job:
    """A job that was just accepted: queued, or, with a `runner`, running already under its lease."""
    job = Job(
        id=id or new_id(now),
        kind=kind,
        door=door,
        owner=owner,
        status=Status.QUEUED,
        created_at=now,
        batch=batch,
        wake_at=now,
        token_hashes=token_hashes[-KEPT_TOKENS:],
        request_hash=request_hash,
        callback=callback,
        idempotency=idempotency,
        traceparent=traceparent,
    )
    return job if runner is None else leased(job, runner, now)


def leased(job: Job, runner: str, now: datetime) -> Job:
    """`job` running under a lease of `runner` from `now`; a runner that died before it makes this a new attempt."""
    taken_over = job.status is Status.RUNNING
    # Where its end was decided already, the phase tells each successor that images came before the error.
    decided = job.error is not None and job.phase is Phase.STORING
    return job.moved(
        Status.RUNNING,
        phase=Phase.STORING if decided else Phase.WAITING,
        attempt=job.attempt + 1 if taken_over else max(job.attempt, 1),
        started_at=job.started_at or now,
        wake_at=None,
        lease_owner=runner,
        lease_until=now + LEASE,
    )


def new_runner() -> str:
    """A name for one run of one job, of no other: it says whose a lease is. Begins with the instance, for the logs."""
    instance = os.environ.get("WEBSITE_INSTANCE_ID", "local")[:12]
    return f"{instance}-{os.getpid()}-{secrets.token_hex(8)}"


def new_id(now: datetime) -> str:
    """An id for a job of `now`: 26 characters that sort the newest first; 80 random bits tell one ms's jobs apart."""
    return _encode(_countdown(now) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def first_id_before(time: datetime) -> str:
    """The least id a job created before `time` can have: ids from here on are of older jobs."""
    return _encode((_countdown(time) + 1) << _RANDOM_BITS)


def is_id(text: str) -> bool:
    """Whether `text` is an id `new_id` can make: a strict part of the `[0-9a-z]{26}` of design section 8."""
    return _ID.fullmatch(text) is not None


def error_summary(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`error` small enough for a row (a string property holds 32,768 UTF-16 units); what is cut is in `result.json`."""
    if error is None or len(json.dumps(error)) <= _MAX_ERROR_TEXT:
        return None if error is None else dict(error)
    kept = {name: error[name] for name in ("type", "param", "code") if name in error}
    small = {name: value[:200] if isinstance(value, str) else None for name, value in kept.items()}
    return {"message": str(error.get("message", ""))[:_MAX_ERROR_MESSAGE], **small}


def error_without_words(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What may stay of `error` when the prompt has to go: its codes. A refusal of the service may quote the prompt in
    its message and in the members it put beside it."""
    if error is None:
        return None
    kept = {name: error.get(name) for name in ("type", "param", "code", "status", "retry_after")}
    small = {name: value[:200] if isinstance(value, str) else value for name, value in kept.items()}
    inner = error.get("inner_error")
    code = inner.get("code") if isinstance(inner, Mapping) else None
    why = {"inner_error": {"code": code[:200]}} if isinstance(code, str) else {}
    return {"message": "The job was purged, and the words of its error with it.", **small, **why}


def _countdown(time: datetime) -> int:
    # Whole milliseconds: a float of seconds since 1970 rounds some of them up.
    return _END_OF_TIME - (time - _EPOCH) // timedelta(milliseconds=1)


def _encode(value: int) -> str:
    return "".join(_ALPHABET[value >> 5 * place & 31] for place in reversed(range(_ID_LENGTH)))
