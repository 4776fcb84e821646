"""One call to the model and everything that is owed to it: the ledger row before, the images while, the records after.

1. The ledger row, then the call; images go to storage while the answer arrives.
2. An answer: `result.json`, then the ledger, then what is made of the images (`derived`), then the sidecars. Whoever
   dies in between leaves a job that its successor finishes without paying again; where `result.json` cannot be
   written the ledger still says billed.
3. A refusal or an unknown outcome that ends the job is written on the job's row before anything else, so that no
   successor asks again.

Each of these records is tried for as long as the lease is safe: an image that was paid for is not given up for a
storage account that hiccups.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from shared.delivery.results import ResultWriter, StoredImage
from shared.errors import DarkroomError
from shared.images.pricing import Cost
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Job, Phase, Status
from shared.jobs.lease import Lease
from shared.jobs.ledger import Outcome, Started
from shared.model import client as model
from shared.model import payload
from shared.model.client import Answer
from shared.model.listening import Listener
from shared.pipeline import derived, ending, observing, results, verdicts
from shared.pipeline.results import Unknown
from shared.pipeline.rooms import Rooms
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT, Step
from shared.platform import clients
from shared.settings import Deployment, settings

log = logging.getLogger("darkroom")

_PAUSES = (0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed and left the job running: `step` says how it goes on; `unknown` if it may have been billed."""

    step: Step
    error: DarkroomError
    unknown: Unknown | None


@dataclass(slots=True)
class Attempt:
    """The call of a job whose row says that it is calling (`lease.begin_call`)."""

    room: Rooms
    lease: Lease
    accepted: AcceptedRequest
    deployment: Deployment
    listener: Listener | None = None
    started: Started | None = None
    """The row of the call in the ledger, once it is written."""

    async def make(self) -> Failure | None:
        """Call, and write down what came of it. None: the job ended. Raises `lease_lost` and the like, and
        `storage_unavailable` when something could not be written down in time."""
        await self._account()
        job = self.lease.job
        writer = ResultWriter(
            self.room.blobs,
            results.target(self.accepted, self.deployment.model, job.id, job.created_at, job.attempt),
        )
        try:
            answer = await self._call(writer)
        except DarkroomError as error:
            return await self._failed(error, await writer.abort())
        except BaseException:
            await writer.abort()
            raise
        await _to_its_end(self._store(answer, writer))
        return None

    async def _account(self) -> None:
        request = self.accepted.request
        facts: dict[str, str | int | bool | None] = {
            "kind": request.kind,
            "n": request.n,
            "size": request.size,
            "quality": request.quality,
        }
        try:
            self.started = await self.room.ledger.start(self.lease.job, model=self.deployment.model, facts=facts)
        except BaseException:
            # Nothing was sent; but the row may have been written, and only its answer lost.
            during = self.lease.job
            try:
                await self._patiently(
                    lambda: self.room.ledger.settle(during, Outcome.VOID, error_code="storage_unavailable")
                )
            finally:
                await self.lease.uncount_call()
            raise

    @observing.call
    async def _call(self, writer: ResultWriter) -> Answer:
        files = self.room.files(self.lease.job.id)
        several = len(self.accepted.images) > 1
        named = [("image[]" if several else "image", image) for image in self.accepted.images]
        if self.accepted.mask:
            named.append(("mask", self.accepted.mask))
        sources = [
            payload.source_file(name, source.content_type, source.bytes, partial(files.read_source, source.name))
            for name, source in named
        ]
        return await model.call(
            clients.model_http(),
            clients.app_bearer(self.deployment.scope),
            self.deployment,
            self.accepted.request.kind,
            payload.build(self.accepted.request, self.deployment, sources),
            writer,
            may_send=self.lease.check,
            listener=self.listener,
        )

    # -- an answer -------------------------------------------------------------------------------------------------

    @observing.storing
    async def _store(self, answer: Answer, writer: ResultWriter) -> None:
        try:
            images = await writer.finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is paid for and must be accounted
            await self._answered(answer, await writer.abort(), _incomplete(error))
        else:
            await self._answered(answer, images, None)

    async def _answered(self, answer: Answer, images: list[StoredImage], error: DarkroomError | None) -> None:
        """The answer is paid for. `error` says why not all of it could be stored."""
        changes: dict[str, Any] = {"phase": Phase.STORING, "region": self.deployment.region or answer.region}
        if error is not None:
            changes["error"] = error.to_row()
        during = self.lease.job
        observing.answered(self.deployment, answer)
        try:
            await self._patiently(lambda: self.lease.update(**changes))
        except DarkroomError:
            # Another runner has the job, or may have: what was paid is still told, and nothing else is this one's.
            with contextlib.suppress(DarkroomError):
                await settle_billed(self.room, during, results.document(during, self.deployment.model, images, answer))
            raise
        job = self.lease.job
        result = results.document(job, self.deployment.model, images, answer)
        try:
            await self._patiently(lambda: self.room.files(job.id).put_result(result))
        finally:
            code = error.code if error else None
            await self._patiently(lambda: settle_billed(self.room, job, result, error_code=code, started=self.started))
        if error is None:
            result = await derived.complete(self.room, self.lease, job, self.accepted, result)
            error = derived.failure(result)
        await self._patiently(lambda: results.write_sidecars(self.room, job, self.accepted, result))
        if self.listener is not None:
            await self.listener.stored(result)
        status = Status.CANCELED if self.lease.cancel_requested else Status.SUCCEEDED
        await self._end(Status.FAILED if error else status, error, result)

    async def _end(self, status: Status, error: DarkroomError | None, result: dict[str, Any]) -> None:
        due, accepted = ending.first_retry(), self.accepted
        await self._patiently(
            lambda: ending.end(self.room, self.lease, status, error, due=due, accepted=accepted, result=result)
        )

    # -- none ------------------------------------------------------------------------------------------------------

    async def _failed(self, error: DarkroomError, images: list[StoredImage]) -> Failure | None:
        job = self.lease.job
        if error.code in NOT_THE_JOBS_FAULT:  # `may_send` said no, so nothing was sent
            with contextlib.suppress(DarkroomError):
                await self.room.ledger.settle(job, Outcome.VOID, error_code=error.code, started=self.started)
            raise error
        step = verdicts.next_step(
            error,
            calls_counted=job.attempts,
            retry_unknown=settings().retry_unknown_outcome,
            delivered=bool(images),
        )
        log.warning("job %s, call %s on %s: %s, %s", job.id, job.calls, self.deployment.name, error.code, step.name)
        ends = step in (Step.FAIL, Step.FAIL_UNKNOWN)
        unknown = None
        if step in verdicts.MAYBE_PAID:
            unknown = results.unknown_outcome(self.accepted, self.deployment.model)
        observing.failed(self.deployment, error, step, unknown.cost if unknown else None)
        try:
            if ends:
                # The phase tells a successor, too, that images came before the error.
                phase = Phase.STORING if images else job.phase
                await self._patiently(lambda: self.lease.update(phase=phase, error=error.to_row()))
        finally:  # each of the two keeps a successor from asking again
            await self._patiently(
                lambda: self.room.ledger.settle(
                    job,
                    verdicts.outcome(step, error),
                    possibly_billed=unknown.cost if unknown else None,
                    error_code=error.code,
                    started=self.started,
                )
            )
        if not ends:
            return Failure(step, error, unknown)
        result = results.document(job, self.deployment.model, images, None, unknown=unknown)
        await self._patiently(lambda: self.room.files(job.id).put_result(result))
        await self._patiently(lambda: results.write_sidecars(self.room, job, self.accepted, result))
        if self.listener is not None:
            await self.listener.stored(result)
        await self._end(Status.CANCELED if error.code == "canceled" else Status.FAILED, error, result)
        return None

    async def _patiently(self, write: Callable[[], Awaitable[Any]]) -> None:
        await self.lease.patiently(write, _PAUSES)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` though the caller be cancelled meanwhile (a worker that shuts down): the images are paid for."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def settle_billed(
    room: Rooms, job: Job, result: dict[str, Any], *, error_code: str | None = None, started: Started | None = None
) -> None:
    """Write into the ledger that the call behind `result` was answered, and what it cost."""
    cost = result["cost"]
    await room.ledger.settle(
        job,
        Outcome.BILLED,
        usage=result["usage"],
        cost=None if cost["amount"] is None else Cost(Decimal(cost["amount"]), cost["currency"]),
        images=len(result["images"]),
        request_id=result["request_id"],
        error_code=error_code,
        started=started,
    )


def _incomplete(error: Exception) -> DarkroomError:
    if isinstance(error, DarkroomError):
        return model.unknown(error.code, error.message)
    return model.unknown("internal_error", f"storing it failed ({type(error).__name__})")
