"""A caller's list of jobs: which it may see, and where a list that does not fit one answer goes on.

A `continuation` is the service's own mark of where its query stopped, with a fingerprint of the query it belongs to.
It is no secret and opens nothing: whatever it says, the range of the rows and the owner are asked for anew with each
page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from shared.errors import DarkroomError
from shared.jobs import document as documents
from shared.jobs.history import JobPage
from shared.jobs.job import Status, is_id
from shared.jobs.rows import Mark, MarkRefused
from shared.pipeline import read
from shared.pipeline.rooms import rooms
from shared.platform.principals import Caller

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_CONTINUATION_CHARS = 4_000


async def page(
    caller: Caller,
    *,
    status: str | None = None,
    limit: str | None = None,
    continuation: str | None = None,
    batch: str | None = None,
) -> dict[str, Any]:
    """The next of the caller's jobs, from the texts of a query: `{"data": [...], "continuation": text or None}`.

    Newest first; those of a batch in the order of its requests. Raises `invalid_value` naming the parameter, and
    `not_found` for a batch that is none of the caller's.
    """
    wanted, size = _status(status), _limit(limit)
    owner = None if caller.sees_all else caller.owner
    query = _fingerprint(owner, status, batch)
    after = _mark(continuation, query)
    room = await rooms()
    try:
        if batch is None:
            found = await room.history.newest(size=size, owner=owner, status=wanted, after=after)
        else:
            await _refuse_others_batch(batch, caller)
            found = await room.history.of_batch(batch, size=size, status=wanted, after=after)
    except MarkRefused:
        raise _no_continuation() from None
    return _shown(found, query)


def _shown(found: JobPage, query: str) -> dict[str, Any]:
    base = read.job_base()
    return {
        "data": [documents.summary(job, job_base=base) for job in found.jobs],
        "continuation": _continuation(found.next, query) if found.next else None,
    }


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    if text not in tuple(Status):
        raise DarkroomError("invalid_value", f"'status' must be one of {', '.join(Status)}.", param="status")
    return Status(text)


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise DarkroomError("invalid_value", f"'limit' must be a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return int(text)


async def _refuse_others_batch(batch_id: str, caller: Caller) -> None:
    batch = await (await rooms()).store.batch(batch_id) if is_id(batch_id) else None
    if batch is None or not caller.may_see(batch.owner):
        raise DarkroomError("not_found", "There is no such batch.", param="batch")


def _fingerprint(*query: str | None) -> str:
    return hashlib.sha256(json.dumps(query).encode()).hexdigest()[:16]


def _continuation(mark: Mark, query: str) -> str:
    text = json.dumps([query, mark.partition, mark.row], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _mark(continuation: str | None, query: str) -> Mark | None:
    if continuation is None:
        return None
    try:
        if len(continuation) > MAX_CONTINUATION_CHARS:
            raise ValueError
        padded = continuation + "=" * (-len(continuation) % 4)
        known, partition, row = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        f"{partition}{row}".encode()  # half of a surrogate pair can be asked of nobody
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _no_continuation() from None
    if known != query or not isinstance(partition, str) or not (row is None or isinstance(row, str)):
        raise _no_continuation()
    return Mark(partition, row)


def _no_continuation() -> DarkroomError:
    return DarkroomError(
        "invalid_value",
        "'continuation' must be that of the page before, sent with the same 'status' and 'batch'.",
        param="continuation",
    )
