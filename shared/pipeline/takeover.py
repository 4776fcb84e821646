"""A job whose runner died: what its call may have done is settled before anybody calls again."""

from __future__ import annotations

from typing import Any

from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Door, Job, Phase, Status
from shared.jobs.lease import Lease
from shared.jobs.ledger import Outcome
from shared.jobs.store import Claim
from shared.model import client as model
from shared.pipeline import derived, ending, job_events, results, verdicts
from shared.pipeline.attempt import settle_billed
from shared.pipeline.rooms import Rooms
from shared.settings import settings

_NOTHING_OWED = (Outcome.REFUSED, Outcome.VOID)


async def settle(room: Rooms, lease: Lease, claim: Claim, accepted: AcceptedRequest) -> None:
    """End the job by what its dead runner left, or leave it running for a call of its successor's own.

    - Nothing was sent, or what was sent was refused for the moment: a queued job goes on; a synchronous one ends,
      since its caller has gone and asks anew.
    - The row has an error: that was the verdict, and only the end was missing.
    - The answer is stored whole: what was to be made of its images is made, the job ends, and nothing is paid again.
    - The ledger says billed, but nothing came of it, or the outcome is not known: as `RETRY_UNKNOWN_OUTCOME` says.
    """
    previous = claim.previous
    if previous is None or not claim.taken_over:
        return
    if previous.call_started_at is None:
        await _go_on(room, lease, previous)
        return
    known = await room.ledger.find(previous)
    result = await room.files(previous.id).get_result()
    if previous.error is not None:
        await _end_as_decided(room, lease, previous, accepted, result, known[0] if known else None)
    elif result is not None and result["call"] == previous.calls and result["answer"] is not None:
        await _succeed(room, lease, previous, accepted, result)
    elif known is None or (known[0] in _NOTHING_OWED and known[1] in verdicts.NOT_THE_LAST_WORD):
        await lease.uncount_call()
        await _go_on(room, lease, previous)
    elif known[0] in _NOTHING_OWED:
        refused = {"code": known[1], "message": "The model service refused this request; its words are lost."}
        await ending.fail(room, lease, DarkroomError.from_service(400, refused))
    else:
        await _unknown(room, lease, previous, accepted)


async def settle_lost_request(room: Rooms, claim: Claim) -> None:
    """The ledger's last word on the call of a dead runner whose job cannot go on."""
    if claim.previous is not None and claim.died_calling:
        await room.ledger.settle(claim.previous, Outcome.UNKNOWN, error_code="runner_died")


async def _go_on(room: Rooms, lease: Lease, previous: Job) -> None:
    if previous.door is Door.HTTP:
        error = "The instance of Darkroom that served this request ended before it called the model. Ask again."
        await ending.fail(room, lease, DarkroomError("abandoned", error))


async def _end_as_decided(
    room: Rooms,
    lease: Lease,
    previous: Job,
    accepted: AcceptedRequest,
    result: dict[str, Any] | None,
    known: Outcome | None,
) -> None:
    """The dead runner had written its verdict on the row. What it may have paid for is written down once more, unless
    it came to that itself: so the ledger says (`known`), or the error, or the phase, where images came before it."""
    error = DarkroomError.from_row(dict(previous.error or {}))
    model_name = _model_of(previous)
    is_unknown = known is Outcome.UNKNOWN or error.code == "outcome_unknown" or previous.phase is Phase.STORING
    unknown = results.unknown_outcome(accepted, model_name) if is_unknown else None
    settled = await room.ledger.settle(
        previous,
        Outcome.UNKNOWN if is_unknown else Outcome.REFUSED,
        possibly_billed=unknown.cost if unknown else None,
        error_code=error.code,
    )
    if result is None or result["call"] != previous.calls:
        maybe = unknown if settled is Outcome.UNKNOWN else None
        await room.files(previous.id).put_result(results.document(previous, model_name, [], None, unknown=maybe))
    await ending.fail(room, lease, error)


async def _succeed(room: Rooms, lease: Lease, previous: Job, accepted: AcceptedRequest, result: dict[str, Any]) -> None:
    await settle_billed(room, previous, result)
    result = await derived.complete(room, lease, previous, accepted, result)
    await results.write_sidecars(room, previous, accepted, result)
    if (events := job_events.listener(room, lease, accepted)) is not None:
        await events.stored(result)
    error = derived.failure(result)
    status = Status.CANCELED if lease.cancel_requested else Status.SUCCEEDED
    await ending.end(room, lease, Status.FAILED if error else status, error, accepted=accepted, result=result)


async def _unknown(room: Rooms, lease: Lease, previous: Job, accepted: AcceptedRequest) -> None:
    unknown = results.unknown_outcome(accepted, _model_of(previous))
    known = await room.ledger.settle(previous, Outcome.UNKNOWN, possibly_billed=unknown.cost, error_code="runner_died")
    may_repeat = verdicts.may_repeat_after_crash(previous.attempts, settings().retry_unknown_outcome)
    if previous.door is not Door.HTTP and known is not Outcome.BILLED and may_repeat:
        so_far = results.unknown_so_far(previous, unknown)
        await lease.update(phase=Phase.WAITING, call_started_at=None, possibly_billed=so_far)
        return
    error = model.unknown("runner_died", "the instance of Darkroom that made the call ended before it")
    result = results.document(previous, _model_of(previous), [], None, unknown=unknown)
    await room.files(previous.id).put_result(result)
    await ending.fail(room, lease, error)


def _model_of(previous: Job) -> str:
    deployment = settings().deployment(previous.deployment or "")
    return deployment.model if deployment else ""
