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
from shared.pipeline import ending, results, verdicts
from shared.pipeline.attempt import settle_billed
from shared.pipeline.rooms import Rooms
from shared.settings import settings


async def settle(room: Rooms, lease: Lease, claim: Claim, accepted: AcceptedRequest) -> None:
    """End the job by what its dead runner left, or leave it running for a call of its successor's own.

    - Before a call: a queued job goes on; a synchronous one ends, since its caller has gone and asks anew.
    - The row has an error: that was the verdict, and only the end was missing.
    - The answer is stored whole: the job succeeded, and nothing is paid again.
    - The ledger says billed, but nothing came of it, or the outcome is not known: as `RETRY_UNKNOWN_OUTCOME` says.
    """
    previous = claim.previous
    if previous is None or not claim.taken_over:
        return
    if previous.call_started_at is None:
        if previous.door is Door.HTTP:
            await ending.fail(room, lease, _abandoned())
        return
    if previous.error is not None:
        await _repeat_verdict(room, lease, previous, dict(previous.error))
        return
    result = await room.files(previous.id).get_result()
    if result is not None and result["call"] == previous.calls and result["answer"] is not None:
        await _succeed(room, lease, previous, accepted, result)
        return
    await _unknown(room, lease, previous, accepted)


def _abandoned() -> DarkroomError:
    return DarkroomError(
        "abandoned", "The instance of Darkroom that served this request ended before it called the model. Ask again."
    )


async def _repeat_verdict(room: Rooms, lease: Lease, previous: Job, row: dict[str, Any]) -> None:
    error = DarkroomError.from_row(row)
    outcome = Outcome.UNKNOWN if error.code == "outcome_unknown" else Outcome.REFUSED
    await room.ledger.settle(previous, outcome, error_code=error.code)
    await ending.fail(room, lease, error)


async def _succeed(room: Rooms, lease: Lease, previous: Job, accepted: AcceptedRequest, result: dict[str, Any]) -> None:
    await settle_billed(room, previous, result)
    await results.write_sidecars(room, previous, accepted, result)
    await ending.end(room, lease, Status.CANCELED if lease.cancel_requested else Status.SUCCEEDED)


async def _unknown(room: Rooms, lease: Lease, previous: Job, accepted: AcceptedRequest) -> None:
    deployment = settings().deployment(previous.deployment or "")
    name = deployment.model if deployment else ""
    unknown = results.possibly_billed(accepted, name)
    known = await room.ledger.settle(
        previous, Outcome.UNKNOWN, possibly_billed=unknown.amount if unknown else None, error_code="runner_died"
    )
    may_repeat = verdicts.may_repeat_after_crash(previous.attempts, settings().retry_unknown_outcome)
    if previous.door is not Door.HTTP and known is not Outcome.BILLED and may_repeat:
        so_far = str(results.unknown_so_far(previous, unknown))
        await lease.update(phase=Phase.WAITING, call_started_at=None, possibly_billed=so_far)
        return
    error = model.unknown("runner_died", "the instance of Darkroom that made the call ended before it")
    await room.files(previous.id).put_result(results.document(previous, name, [], None, unknown=unknown))
    await ending.fail(room, lease, error)
