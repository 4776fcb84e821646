"""POSTs that come twice: whose job a request is, when its caller says that it may have asked before.

A caller says so with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), or, as the clients that Stainless
generates do, OpenAI's among them, by counting its tries in `x-stainless-retry-count`. What is found is one of these:

1. Nothing: the request is the first, and its id is bound before anything else is written.
2. A claim whose job is there: the request joins that job, whatever state it is in.
3. A claim without a job: the first one died between the two, or is about to write it. The job is made under the id of
   the claim, so that only one of them can.
4. A claim of a job that failed for a passing reason before anything was paid: the claim goes to the new request.

Who comes in: `accept` for jobs, and whoever else makes what costs money (batches) with `claim`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import DarkroomError
from shared.jobs.idempotency import Existing, Own, row_of_key, row_of_repeats
from shared.jobs.job import Job, Status
from shared.jobs.rows import CONFLICT_TRIES, back_off, storage_unavailable
from shared.pipeline.rooms import rooms

JOINED_WITHIN = timedelta(minutes=15)
"""How long after its first try a request without a key is still taken for a repeat."""
MAX_KEY_CHARS = 256
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a POST says of itself: its key, and how often it was sent before. None where it says nothing."""

    key: str | None = None
    retry: int | None = None


NOTHING = Asked()


@dataclass(frozen=True, slots=True)
class Claimed:
    """`id` is what the job (or batch) of a request is to be called. `row` is the claim's row key, which the job keeps
    as `idempotency`; empty where the caller asked for nothing. `earlier`: another request bound this id, and what it
    was bound for may be there."""

    id: str
    row: str = ""
    earlier: bool = False


type Replaceable = Callable[[str], Awaitable[bool]]
"""Whether what is under an id came to nothing, so that its claim may go to another request."""


async def _never(claimed_id: str) -> bool:
    del claimed_id
    return False


def asked(headers: Mapping[str, str]) -> Asked:
    """What `headers` (lower-case names) say. Raises `invalid_value` for a key that is none; a count that is none is
    passed over."""
    count = headers.get("x-stainless-retry-count", "").strip()
    key = headers.get("idempotency-key")
    return Asked(None if key is None else _key(key), int(count) if _COUNT.fullmatch(count) else None)


def _key(header: str) -> str:
    """The key of a header: a structured field string as the draft has it ("..."), or the plain text others send."""
    text = header.strip()
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    if not (0 < len(text) <= MAX_KEY_CHARS and text.isascii() and text.isprintable()):
        raise DarkroomError(
            "invalid_value",
            f"Invalid 'Idempotency-Key': expected 1 to {MAX_KEY_CHARS} printable ASCII characters, such as a UUID.",
            param="Idempotency-Key",
        )
    return text


async def claim(
    owner: str, asked: Asked, request_hash: str, new_id: str, *, replaceable: Replaceable = _never
) -> Claimed:
    """Bind the request of `owner` to `new_id`, or learn what an earlier one with the same key (or the same hash, where
    the caller repeats without a key) was bound to. To be called right before the first row of what costs money.

    - `earlier` is False: go on under `new_id`.
    - `earlier` is True: look for what is under `id`. It is there: that is the answer. It is not: make it under `id`,
      with a write that fails when another was faster.

    For batches: `claimed = await repeats.claim(caller.owner, repeats.asked(req.headers), hash, new_id)`; the hash is
    to cover everything that matters, and must differ from that of a job's request (hash a word such as `batch` too).

    Raises `idempotency_key_reused` when the key was used for another request, `storage_unavailable`.
    """
    row = _row(asked, request_hash)
    if not row:
        return Claimed(new_id)
    room = await rooms()
    if _is_first_try(asked):
        # Two such requests at once are two jobs, as two pictures were asked for; the row names the last.
        await room.idempotency.bind(owner, row, request_hash, new_id)
        return Claimed(new_id, row)
    for _ in range(CONFLICT_TRIES):
        found = await room.idempotency.claim_row(owner, row, request_hash, new_id)
        if isinstance(found, Own):
            return Claimed(new_id, row)
        _refuse_other(found)
        if not await _is_over(asked, found, replaceable):
            return Claimed(found.job_id, row, earlier=True)
        if await room.idempotency.rebind(owner, row, found, request_hash, new_id):
            return Claimed(new_id, row)
        await back_off()
    raise storage_unavailable("an idempotency row kept changing")


async def earlier(owner: str, asked: Asked, request_hash: str) -> Job | None:
    """The job this request is to join; None when it has to be one of its own, as far as can be seen without a claim.

    Raises `idempotency_key_reused`.
    """
    row = _row(asked, request_hash)
    if not row or _is_first_try(asked):
        return None
    room = await rooms()
    found = await room.idempotency.find(owner, row, request_hash)
    if found is None:
        return None
    _refuse_other(found)
    if await _is_over(asked, found, _never):
        return None
    job = await room.store.get(found.job_id)
    return None if job is None or came_to_nothing(job) else job


async def job_came_to_nothing(job_id: str) -> bool:
    """`Replaceable` for jobs."""
    job = await (await rooms()).store.get(job_id)
    return job is not None and came_to_nothing(job)


def came_to_nothing(job: Job) -> bool:
    """Whether `job` failed for a reason that passes, with no call that counted: nothing was paid, and showing the
    failure again for ever would help nobody."""
    if job.status is not Status.FAILED or job.attempts or job.possibly_billed != "0":
        return False
    status = int((job.error or {}).get("status", 0))
    return status == 429 or status >= 500


def _row(asked: Asked, request_hash: str) -> str:
    if asked.key is not None:
        return row_of_key(asked.key)
    return row_of_repeats(request_hash) if asked.retry is not None else ""


def _is_first_try(asked: Asked) -> bool:
    return asked.key is None and asked.retry == 0


def _refuse_other(found: Existing) -> None:
    if not found.same:
        raise DarkroomError(
            "idempotency_key_reused",
            "This Idempotency-Key was used for another request. Send the same request again, or a new key.",
            param="Idempotency-Key",
        )


async def _is_over(asked: Asked, found: Existing, replaceable: Replaceable) -> bool:
    if asked.key is None:
        room = await rooms()
        if room.idempotency.clock() - found.created_at > JOINED_WITHIN:
            return True
    return await replaceable(found.job_id)
