"""Many requests at once: accepted or refused as a whole, then made into jobs by a queue function (`fan_out`).

1. `check` looks at every request as far as nobody has to be asked; what is wrong refuses the batch, and nothing of it
   is stored. Sources are looked at when the job is made: one that cannot be used is a failed job with its reason.
2. `submit` writes the requests to one blob, then the batch's rows, then its message, which the timer repeats.
3. `cancel` counts what is no job yet as canceled at once; the jobs that were made are canceled by the queue function.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import refuse_unknown, wrong_type
from shared.images.metadata import check_metadata
from shared.jobs import batch as documents
from shared.jobs.batch import Batch
from shared.jobs.batches import MOST_REQUESTS
from shared.jobs.job import is_id, new_id
from shared.pipeline import accept, announce, ending, repeats
from shared.pipeline.repeats import Asked
from shared.pipeline.rooms import rooms
from shared.platform import tracing
from shared.platform.principals import Caller
from shared.settings import settings

log = logging.getLogger("darkroom")

REQUESTS = "batch.jsonl"
"""The blob of a batch's requests, in its folder of container `requests`: one line of JSON each."""
_NAMED = 5
"""How many wrong requests a refusal names."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a caller sent: its requests as they came, with the number of the line of each where they came in lines."""

    requests: Sequence[Any]
    lines: Sequence[int] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """Requests that were found good, as lines of JSON; `hash` is the same for two batches that ask for the same."""

    lines: Sequence[bytes] = field(repr=False)
    metadata: Mapping[str, str] = field(repr=False)
    hash: str


@dataclass(frozen=True, slots=True)
class Submitted:
    batch: Batch
    joined: bool
    """The batch is an earlier request's, of which this one is a repeat."""


def read(data: Any) -> Body:
    """The body of a batch from its JSON: an array of requests, or an object with `requests` and perhaps `metadata`."""
    if isinstance(data, list):
        return Body(data)
    if not isinstance(data, Mapping):
        raise DarkroomError("invalid_type", "Expected an array of requests, or an object with 'requests'.")
    refuse_unknown(data, ("requests", "metadata"))
    requests = data.get("requests")
    if requests is None:
        raise DarkroomError("missing_required_parameter", "Missing required parameter: 'requests'.", param="requests")
    if not isinstance(requests, list):
        raise wrong_type("requests", "an array", requests)
    given = data.get("metadata")
    return Body(requests, metadata={} if given is None else check_metadata(given))


async def check(body: Body) -> Checked:
    """Raises `DarkroomError` for the first request that is wrong, naming a few more."""
    number = len(body.requests)
    if not 1 <= number <= MOST_REQUESTS:
        raise DarkroomError(
            "invalid_value", f"A batch has 1 to {MOST_REQUESTS} requests, this one has {number}.", param="requests"
        )
    return await asyncio.to_thread(_check, body)  # a thousand of them would hold up everybody else


async def submit(checked: Checked, caller: Caller, asked: Asked) -> Submitted:
    """Accept the batch, or join the one that this request repeats. Raises `idempotency_key_reused`."""
    room = await rooms()
    fresh = new_id(datetime.now(UTC))
    claimed = await repeats.claim(caller.owner, asked, checked.hash, fresh)
    if claimed.earlier and (batch := await room.store.batch(claimed.id)):
        return Submitted(batch, joined=True)
    # A folder of this request's own: another one of the same key may be writing its own at this moment.
    files = room.files(fresh)
    wanted = Batch(
        id=claimed.id,
        owner=caller.owner,
        created_at=datetime.now(UTC),
        total=len(checked.lines),
        folder=fresh,
        idempotency=claimed.row,
        request_hash=checked.hash,
        sees_all=caller.sees_all,
        metadata=checked.metadata,
        traceparent=tracing.current(),
    )
    await files.put_source(REQUESTS, _pieces(checked.lines))
    batch = await room.batches.create(wanted)
    if batch.folder != fresh:
        with suppress(DarkroomError):
            await files.discard()
        return Submitted(batch, joined=True)
    await _send(batch.id)
    return Submitted(batch, joined=False)


async def find(batch_id: str, caller: Caller) -> Batch:
    """The caller's batch. Raises `not_found` for an id that is none, is unknown, or is another's."""
    batch = await (await rooms()).store.batch(batch_id) if is_id(batch_id) else None
    if batch is None or not caller.may_see(batch.owner):
        raise DarkroomError("not_found", "There is no such batch.", param="id")
    return batch


async def cancel(batch: Batch) -> Batch:
    """Cancel what has not ended; the batch as it is then, its jobs that were made still to be canceled one by one.

    Raises `batch_ended`.
    """
    room = await rooms()
    batch, entries = await room.batches.cancel(batch.id, due=ending.first_retry())
    await _send(batch.id)
    await announce.first_tries(room, entries)
    return batch


def document(batch: Batch) -> dict[str, Any]:
    return documents.document(batch, api=f"{settings().public_base_url}/api")


async def abandoned() -> int:
    """Send a message for every batch that somebody should work at and nobody does; how many there were."""
    room = await rooms()
    found = 0
    async for batch_id in room.batches.overdue():
        found += 1
        log.warning("nobody works at batch %s; it is sent to the queue again", batch_id)
        await room.batch_queue.submit(batch_id)
    return found


async def _send(batch_id: str) -> None:
    room = await rooms()
    try:
        await room.batch_queue.submit(batch_id)
    except DarkroomError as error:
        log.warning("the message of batch %s was not taken (%s); the timer sends another", batch_id, error.code)


def _check(body: Body) -> Checked:
    digest = hashlib.sha256(b"batch\n")
    digest.update(json.dumps(dict(body.metadata), sort_keys=True).encode())
    lines: list[bytes] = []
    wrong: list[tuple[int, DarkroomError]] = []
    for index, data in enumerate(body.requests):
        try:
            digest.update(accept.parse(data, kind=None).canonical_hash().encode())
        except DarkroomError as error:
            if error.code == "misconfigured":
                raise
            wrong.append((index, error))
            if len(wrong) == _NAMED:
                break
        else:
            lines.append(json.dumps(data, separators=(",", ":")).encode("ascii"))
    if wrong:
        raise refusal(wrong, body.lines)
    return Checked(lines, body.metadata, digest.hexdigest())


def refusal(wrong: Sequence[tuple[int, DarkroomError]], lines: Sequence[int]) -> DarkroomError:
    """The first of `wrong`, saying where it is, and where the others are."""
    (index, first), *others = wrong
    line = f"line {lines[index]}, " if lines else ""
    also = f" Wrong too: {', '.join(_param(at, error) for at, error in others)}." if others else ""
    message = f"{line}requests[{index}]: {first.message}{also}"
    return DarkroomError(first.code, message[0].upper() + message[1:] if line else message, param=_param(index, first))


def _param(index: int, error: DarkroomError) -> str:
    return f"requests[{index}].{error.param}" if error.param else f"requests[{index}]"


async def _pieces(lines: Sequence[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line + b"\n"
