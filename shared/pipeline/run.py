"""One job under its lease, from waiting for a turn at the model to the completion event.

1. A job taken over from a runner that died is settled first: a result that is already stored is not paid for again.
2. Wait for a slot: near ones here, far ones by giving the job back with a new message (a queued job holds no worker).
3. Write call_started_at and the ledger row, then call; images are stored while the answer arrives.
4. Sidecars, `result.json`, the ledger's verdict; then the job's last move and its outbox row in one transaction.
5. Announce. What the topic does not take now, the timer sends later.

What follows a failure is `next_step` of `shared.pipeline.verdicts`; nothing here decides it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from shared.delivery.results import ResultWriter, StoredImage
from shared.errors import DarkroomError
from shared.images import pricing
from shared.jobs.files import AcceptedRequest, JobFiles
from shared.jobs.job import Door, Job, Phase, Status, new_runner
from shared.jobs.lease import Lease
from shared.jobs.ledger import Outcome
from shared.jobs.pacing import Later, Slot, is_void, slot_of
from shared.jobs.store import Claim, ClaimOutcome
from shared.model import client as model
from shared.model import deployments, payload
from shared.model.client import Answer
from shared.pipeline import announce, results, verdicts
from shared.pipeline.accept import typical_seconds
from shared.pipeline.rooms import Rooms, rooms
from shared.pipeline.verdicts import Step
from shared.platform import clients
from shared.settings import Deployment, settings

log = logging.getLogger("darkroom")

NEAR = timedelta(seconds=10)
"""A slot this near is waited for in place."""
WAKE_BEFORE = timedelta(seconds=5)
"""A message that comes back for a far slot comes this early: queue polling is late by up to two seconds."""
RETRY_CONNECT = (1.0, 2.0, 5.0)
"""Seconds between calls that could not connect; after these a queued job comes back later, a caller is told."""
NO_CONNECTION = timedelta(seconds=30)

_NOT_THE_JOBS_FAULT = ("lease_lost", "job_ended", "storage_unavailable")


async def deliver(job_id: str) -> None:
    """Run the queued job `job_id`, or nothing when it ended, runs elsewhere or is not known.

    Raises what storage raises before a call is under way: the message then comes back.
    """
    room = await rooms()
    claim = await room.store.claim(job_id, new_runner())
    if claim.outcome is not ClaimOutcome.CLAIMED or claim.job is None:
        log.info("job %s needs no run here: %s", job_id, claim.outcome)
        return
    async with room.store.hold(claim.job) as lease:
        run = _Run(room, lease, deadline=None)
        try:
            if claim.taken_over and await run.settle_predecessor(claim):
                return
            await run.go()
        except Exception:
            if lease.job.status is Status.RUNNING and lease.job.call_started_at is None and lease.safe():
                await lease.give_back(wake_at=datetime.now(UTC) + NEAR)
            raise


async def run_now(job: Job) -> Job:
    """Run `job`, born with this process's lease, for a caller who waits; it has the sync budget from now on."""
    room = await rooms()
    deadline = datetime.now(UTC) + timedelta(seconds=settings().sync_budget_seconds)
    async with room.store.hold(job) as lease:
        run = _Run(room, lease, deadline)
        try:
            await run.go()
        except DarkroomError as error:
            if error.code in _NOT_THE_JOBS_FAULT:
                raise
            await run.fail(error)
        return lease.job


@dataclass(slots=True)
class _Run:
    room: Rooms
    lease: Lease
    deadline: datetime | None
    unreachable: set[str] = field(default_factory=set)
    """Deployments that could not be reached in this round of tries."""
    rounds: int = 0

    @property
    def files(self) -> JobFiles:
        return self.room.files(self.lease.job.id)

    async def go(self) -> None:
        accepted = await self.files.get_request()
        while self.lease.job.status is Status.RUNNING:
            try:
                self.lease.check()
                self._check_age()
                able = self._candidates(accepted)
                slot = await self._slot(able, accepted)
                if slot is None:
                    return
                deployment = next(entry for entry in able if entry.name == slot.deployment)
                await self.lease.begin_call(deployment.name, deployment.region)
            except DarkroomError as error:
                if error.code in _NOT_THE_JOBS_FAULT:
                    raise
                await self.fail(error)
                return
            await self._attempt(accepted, deployment, slot)

    def _check_age(self) -> None:
        hours = settings().job_max_wait_hours
        if datetime.now(UTC) - self.lease.job.created_at > timedelta(hours=hours):
            raise DarkroomError("expired", f"No turn at the model came within {hours:g} hours.")

    def _candidates(self, accepted: AcceptedRequest) -> tuple[Deployment, ...]:
        """Another deployment first when one could not be reached."""
        able = deployments.candidates(settings().deployments, accepted.request.model)
        return tuple(entry for entry in able if entry.name not in self.unreachable) or able

    # -- the turn at the model -------------------------------------------------------------------------------------

    async def _slot(self, able: tuple[Deployment, ...], accepted: AcceptedRequest) -> Slot | None:
        """A slot whose turn is now; None when the job was given back to wait for a far one."""
        kept = slot_of(self.lease.job, able, images=accepted.request.n)
        while True:
            now = datetime.now(UTC)
            turn: Slot | Later
            if kept is not None and not is_void(kept, now):
                turn = kept
            else:
                turn = await self.room.pacer.reserve(able, images=accepted.request.n)
            kept = None
            if self.deadline is not None:
                await self._fit_deadline(turn, accepted)
            elif turn.at - now > NEAR:
                await self._come_back(turn)
                return None
            if isinstance(turn, Later):
                await self._sleep_until(turn.at)
            elif await self.room.pacer.take_turn(turn):
                return turn
            self.lease.check()

    async def _fit_deadline(self, turn: Slot | Later, accepted: AcceptedRequest) -> None:
        assert self.deadline is not None
        late = turn.at + timedelta(seconds=typical_seconds(accepted.request)) - self.deadline
        if late <= timedelta():
            return
        if isinstance(turn, Slot):
            await self.room.pacer.give_up(turn)
        raise DarkroomError(
            "rate_limit_exceeded",
            "The model's next free turn is too far for a synchronous answer. Retry later, or POST to /api/jobs.",
            retry_after=max(1.0, late.total_seconds()),
        )

    async def _come_back(self, turn: Slot | Later) -> None:
        now = datetime.now(UTC)
        slot = turn if isinstance(turn, Slot) else None
        wake_at = max(now + timedelta(seconds=1), turn.at - (WAKE_BEFORE if slot else timedelta()))
        await self.lease.give_back(
            wake_at=wake_at, slot_at=slot.at if slot else None, deployment=slot.deployment if slot else None
        )
        await self.room.queue.submit(self.lease.job.id, delay=(wake_at - now).total_seconds())

    async def _sleep_until(self, moment: datetime) -> None:
        """Wait, but no longer than until a cancel or the loss of the lease."""
        seconds = (moment - datetime.now(UTC)).total_seconds()
        if seconds > 0:
            try:
                await asyncio.wait_for(self.lease.interrupted.wait(), seconds)
            except TimeoutError:
                return

    # -- the call --------------------------------------------------------------------------------------------------

    async def _attempt(self, accepted: AcceptedRequest, deployment: Deployment, slot: Slot) -> None:
        request = accepted.request
        job = self.lease.job
        await self.room.ledger.start(
            job,
            model=deployment.model,
            facts={"kind": request.kind, "n": request.n, "size": request.size, "quality": request.quality},
        )
        writer = ResultWriter(self.room.blobs, results.target(accepted, job.id, job.created_at, job.attempt))
        answer: Answer | None = None
        try:
            self.lease.check()
            answer = await self._call(accepted, deployment, writer)
            await self.lease.update(phase=Phase.STORING, region=deployment.region or answer.region)
            images = await writer.finish()
        except DarkroomError as error:
            images = await writer.abort()
            await self._failed(error, accepted, deployment, slot, images, answer)
        except BaseException:
            await writer.abort()
            raise
        else:
            await self._succeed(accepted, deployment, images, answer)

    async def _call(self, accepted: AcceptedRequest, deployment: Deployment, writer: ResultWriter) -> Answer:
        return await model.call(
            clients.model_http(),
            clients.model_bearer(deployment.scope),
            deployment,
            accepted.request.kind,
            payload.build(accepted.request, deployment, self._sources(accepted)),
            writer,
        )

    def _sources(self, accepted: AcceptedRequest) -> list[payload.SourceFile]:
        files = self.files
        several = len(accepted.images) > 1
        named = [("image[]" if several else "image", image) for image in accepted.images]
        if accepted.mask:
            named.append(("mask", accepted.mask))
        return [
            payload.source_file(name, source.content_type, source.bytes, partial(files.read_source, source.name))
            for name, source in named
        ]

    async def _succeed(
        self, accepted: AcceptedRequest, deployment: Deployment, images: list[StoredImage], answer: Answer
    ) -> None:
        cost = pricing.cost(answer.body.get("usage"), deployment.model)
        result = results.document(self.lease.job, images, answer, cost)
        await self._keep(accepted, deployment, images, answer, result)
        await self.room.ledger.settle(
            self.lease.job,
            Outcome.BILLED,
            usage=answer.body.get("usage"),
            amount=cost.amount if cost else None,
            images=len(images),
            request_id=answer.request_id,
        )
        status = Status.CANCELED if self.lease.cancel_requested else Status.SUCCEEDED
        await self._finish(status)

    async def _keep(
        self,
        accepted: AcceptedRequest,
        deployment: Deployment,
        images: list[StoredImage],
        answer: Answer | None,
        result: dict[str, object],
    ) -> None:
        if not self.lease.safe():
            raise DarkroomError("lease_lost", "Another runner has this job.")
        await results.write_sidecars(self.room, self.lease.job, accepted, deployment, images, answer, result)
        await self.files.put_result(result)

    # -- what follows a failure ------------------------------------------------------------------------------------

    async def _failed(
        self,
        error: DarkroomError,
        accepted: AcceptedRequest,
        deployment: Deployment,
        slot: Slot,
        images: list[StoredImage],
        answer: Answer | None,
    ) -> None:
        if error.code == "lease_lost":
            raise error
        job = self.lease.job
        step = verdicts.next_step(error, calls_counted=job.attempts, retry_unknown=settings().retry_unknown_outcome)
        log.warning("job %s, call %s on %s: %s, %s", job.id, job.calls, deployment.name, error.code, step.name)
        if answer is not None:
            await self._fail_after_answer(error, accepted, deployment, images, answer)
            return
        unknown = results.possibly_billed(accepted, deployment.model) if step in verdicts.MAYBE_PAID else None
        await self.room.ledger.settle(
            job,
            verdicts.outcome(step, error),
            possibly_billed=unknown.amount if unknown else None,
            error_code=error.code,
        )
        match step:
            case Step.WAIT:
                await self._wait_as_told(error, deployment, slot)
            case Step.CONNECT_AGAIN:
                await self._connect_again(error, accepted, deployment)
            case Step.DEPLOYMENT_OUT:
                await self.room.pacer.out(deployment, error.inner or error.message)
                await self.lease.uncount_call()
            case Step.CALL_AGAIN | Step.PAY_AGAIN:
                await self.lease.update(phase=Phase.WAITING, call_started_at=None)
            case Step.FAIL | Step.FAIL_UNKNOWN:
                result = results.document(job, images, None, None, unknown)
                await self._keep(accepted, deployment, images, None, result)
                await self.fail(error)

    async def _fail_after_answer(
        self,
        error: DarkroomError,
        accepted: AcceptedRequest,
        deployment: Deployment,
        images: list[StoredImage],
        answer: Answer,
    ) -> None:
        """The answer came whole and was paid for, but not all of it could be stored."""
        cost = pricing.cost(answer.body.get("usage"), deployment.model)
        await self.room.ledger.settle(
            self.lease.job,
            Outcome.BILLED,
            usage=answer.body.get("usage"),
            amount=cost.amount if cost else None,
            images=len(images),
            request_id=answer.request_id,
            error_code=error.code,
        )
        await self._keep(accepted, deployment, images, answer, results.document(self.lease.job, images, answer, cost))
        await self.fail(error)

    async def _wait_as_told(self, error: DarkroomError, deployment: Deployment, slot: Slot) -> None:
        seconds = error.retry_after if error.retry_after is not None else verdicts.UNTOLD_WAIT_SECONDS
        until = datetime.now(UTC) + timedelta(seconds=min(seconds, verdicts.LONGEST_WAIT_SECONDS))
        limited = error.code == "rate_limit_exceeded"
        await self.room.pacer.blocked(deployment, until, slot=slot if limited else None)
        await self.lease.uncount_call()

    async def _connect_again(self, error: DarkroomError, accepted: AcceptedRequest, deployment: Deployment) -> None:
        """Another deployment at once, where one can serve; else a pause, and after some the end of patience."""
        await self.lease.uncount_call()
        self.unreachable.add(deployment.name)
        able = deployments.candidates(settings().deployments, accepted.request.model)
        others = [entry for entry in able if entry.name not in self.unreachable]
        if others and await self.room.pacer.estimate_wait(others) is not None:
            return
        self.unreachable.clear()
        if self.rounds < len(RETRY_CONNECT):
            self.rounds += 1
            await self._sleep_until(datetime.now(UTC) + timedelta(seconds=RETRY_CONNECT[self.rounds - 1]))
        elif self.deadline is not None:
            await self.fail(error)
        else:
            await self._come_back(Later(datetime.now(UTC) + NO_CONNECTION, deployment.name))

    async def settle_predecessor(self, claim: Claim) -> bool:
        """Settle the call a dead runner left behind. True when the job is ended by that."""
        previous = claim.previous
        if previous is None or not claim.died_calling:
            return False
        accepted = await self.files.get_request()
        result = await self.files.get_result()
        if result is not None and result.get("call") == previous.calls and result.get("answer"):
            await self.room.ledger.settle(previous, Outcome.BILLED, usage=result["usage"], images=len(result["images"]))
            await self._finish(Status.SUCCEEDED)
            return True
        deployment = settings().deployment(previous.deployment or "") or settings().deployments[0]
        unknown = results.possibly_billed(accepted, deployment.model)
        await self.room.ledger.settle(
            previous, Outcome.UNKNOWN, possibly_billed=unknown.amount if unknown else None, error_code="runner_died"
        )
        if previous.door is not Door.HTTP and verdicts.may_repeat_after_crash(
            previous.attempts, settings().retry_unknown_outcome
        ):
            await self.lease.update(phase=Phase.WAITING, call_started_at=None)
            return False
        await self.files.put_result(results.document(previous, [], None, None, unknown))
        await self.fail(model.unknown("runner_died", "the instance of Darkroom that made the call ended before it"))
        return True

    # -- the end ---------------------------------------------------------------------------------------------------

    async def fail(self, error: DarkroomError) -> None:
        if error.code == "canceled":
            await self._finish(Status.CANCELED)
        else:
            await self._finish(Status.FAILED, error)

    async def _finish(self, status: Status, error: DarkroomError | None = None) -> None:
        due = datetime.now(UTC) + announce.FIRST_RETRY
        job, entry = await self.lease.finish(status, error=error.to_row() if error else None, due=due)
        log.info("job %s ended: %s", job.id, job.status)
        await announce.announce(self.room, job, entry)
