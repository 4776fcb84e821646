"""One job under its lease, from waiting for a turn at the model to its end.

1. A job taken over from a runner that died is settled first (`takeover`).
2. Wait for a slot: near ones here, far ones by giving the job back with a new message (a queued job holds no worker).
3. Call (`attempt`). What follows a failure is `verdicts.next_step`; nothing here decides it.
4. The end, and its event (`ending`, `announce`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.job import Door, Job, Phase, Status, new_runner
from shared.jobs.lease import Lease
from shared.jobs.pacing import Later, Slot, is_void, slot_of
from shared.jobs.rate import HORIZON
from shared.jobs.store import Claim, ClaimOutcome
from shared.model import deployments
from shared.model.listening import Listener
from shared.pipeline import ending, job_events, observing, results, takeover, verdicts
from shared.pipeline.accept import typical_seconds
from shared.pipeline.attempt import Attempt, Failure
from shared.pipeline.rooms import Rooms, rooms
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT, Step
from shared.settings import Deployment, settings

log = logging.getLogger("darkroom")

NEAR = timedelta(seconds=10)
"""A slot this near is waited for in place."""
WAKE_BEFORE = timedelta(seconds=5)
"""A message that comes back for a far slot comes this early: queue polling is late by up to two seconds."""
RETRY_CONNECT = (1.0, 2.0, 5.0)
"""Seconds between calls that could not connect; after these a queued job comes back later, a caller is told."""
NO_CONNECTION = timedelta(seconds=30)


async def deliver(job_id: str) -> None:
    """Run the queued job `job_id`, or nothing when it ended, runs elsewhere or is not known.

    Raises what storage raises. Before a call the job is given back, and the message runs it when it comes again;
    in a call the lease runs out, and whoever takes the job over settles the call.
    """
    room = await rooms()
    claim = await room.store.claim(job_id, new_runner(), early=WAKE_BEFORE)
    if claim.outcome is not ClaimOutcome.CLAIMED or claim.job is None:
        log.info("job %s needs no run here: %s", job_id, claim.outcome)
        return
    async with observing.run(claim.job, claim.previous), room.store.hold(claim.job) as lease:
        try:
            accepted = await _request(room, lease, claim)
            if accepted is not None:
                await takeover.settle(room, lease, claim, accepted)
                listener = job_events.listener(room, lease, accepted)
                await _Run(room, lease, accepted, deadline=None, listener=listener).go()
        except Exception:
            if _may_come_back(lease):
                await lease.give_back(wake_at=datetime.now(UTC) + NEAR)
            raise


def _may_come_back(lease: Lease) -> bool:
    """Whether the job may wait for another run. A synchronous one may not: its caller has gone, and a call for nobody
    would be paid for."""
    job = lease.job
    return job.status is Status.RUNNING and job.call_started_at is None and job.door is not Door.HTTP and lease.safe()


async def run_now(job: Job, deadline: datetime, listener: Listener | None, accepted: AcceptedRequest) -> Job:
    """Run `job`, born with this process's lease of the request `accepted`, for a caller who waits until `deadline`;
    `listener` hears the answer while it arrives."""
    room = await rooms()
    async with observing.run(job), room.store.hold(job) as lease:
        await _Run(room, lease, accepted, deadline, listener).go()
        return lease.job


async def _request(room: Rooms, lease: Lease, claim: Claim) -> AcceptedRequest | None:
    """The stored request. One that is gone or cannot be read ends the job: no later try brings it back."""
    try:
        return await room.files(lease.job.id).get_request()
    except DarkroomError as error:
        if error.code in NOT_THE_JOBS_FAULT:
            raise
        await takeover.settle_lost_request(room, claim)
        await ending.fail(room, lease, error)
        return None


@dataclass(slots=True)
class _Run:
    room: Rooms
    lease: Lease
    accepted: AcceptedRequest
    deadline: datetime | None
    listener: Listener | None
    unreachable: set[str] = field(default_factory=set)
    """Deployments that could not be reached in this round of tries."""
    rounds: int = 0

    async def go(self) -> None:
        while self.lease.job.status is Status.RUNNING:
            try:
                deployment = await self._turn()
            except DarkroomError as error:
                if error.code in NOT_THE_JOBS_FAULT:
                    raise
                await ending.fail(self.room, self.lease, error)
                return
            if deployment is None:
                return
            failure = await Attempt(self.room, self.lease, self.accepted, deployment[0], self.listener).make()
            if failure is not None:
                await self._go_on(failure, *deployment)

    # -- the turn at the model -------------------------------------------------------------------------------------

    @observing.turn
    async def _turn(self) -> tuple[Deployment, Slot] | None:
        """A deployment to call now; None when the job was given back to wait for a far slot."""
        self.lease.check()
        hours = settings().job_max_wait_hours
        if datetime.now(UTC) - self.lease.job.created_at > timedelta(hours=hours):
            raise DarkroomError("expired", f"No turn at the model came within {hours:g} hours.")
        # Another deployment first when one could not be reached.
        able = self._able()
        able = tuple(entry for entry in able if entry.name not in self.unreachable) or able
        slot = await self._slot(able)
        if slot is None:
            return None
        deployment = next(entry for entry in able if entry.name == slot.deployment)
        await self.lease.begin_call(deployment.name, deployment.region)
        return deployment, slot

    def _able(self) -> tuple[Deployment, ...]:
        return deployments.candidates(settings().deployments, self.accepted.request.model)

    async def _slot(self, able: tuple[Deployment, ...]) -> Slot | None:
        """A slot whose turn is now; None when the job was given back to wait for a far one."""
        images = self.accepted.request.n
        kept = slot_of(self.lease.job, able, images=images)
        while True:
            now = datetime.now(UTC)
            turn: Slot | Later
            if kept is not None and not is_void(kept, now):
                turn = kept
            else:
                turn = await self.room.pacer.reserve(able, images=images, horizon=self._horizon(now))
            kept = None
            if self.deadline is not None:
                await self._fit(turn, self.deadline)
            elif turn.at - now > NEAR:
                await self._come_back(turn)
                return None
            if isinstance(turn, Later):
                await self._sleep_until(turn.at)
            elif await self.room.pacer.take_turn(turn):
                return turn
            self.lease.check()

    def _horizon(self, now: datetime) -> timedelta:
        """How far ahead a slot may lie: as far as a caller who waits has time."""
        if self.deadline is None:
            return HORIZON
        return max(self.deadline - now - timedelta(seconds=typical_seconds(self.accepted.request)), timedelta())

    async def _fit(self, turn: Slot | Later, deadline: datetime) -> None:
        begin = turn.at if isinstance(turn, Slot) else turn.earliest or turn.at
        late = begin + timedelta(seconds=typical_seconds(self.accepted.request)) - deadline
        if late <= timedelta() or turn.at <= datetime.now(UTC):
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

    # -- after a call that failed and did not end the job ----------------------------------------------------------

    async def _go_on(self, failure: Failure, deployment: Deployment, slot: Slot) -> None:
        match failure.step:
            case Step.WAIT:
                await self._wait_as_told(failure.error, deployment, slot)
            case Step.CONNECT_AGAIN:
                await self._connect_again(failure.error, deployment)
            case Step.DEPLOYMENT_OUT:
                await self.lease.uncount_call()
                self.unreachable.clear()  # one that could not be reached a moment ago may be the last one left
                await self.room.pacer.out(deployment, failure.error.inner or failure.error.message)
            case Step.CALL_AGAIN:
                await self.lease.update(phase=Phase.WAITING, call_started_at=None)
            case Step.PAY_AGAIN:
                # Images of the broken answer may be stored: the next one's have names of their own.
                attempt = self.lease.job.attempt + 1
                so_far = results.unknown_so_far(self.lease.job, failure.unknown)
                await self.lease.update(
                    phase=Phase.WAITING, call_started_at=None, attempt=attempt, possibly_billed=so_far
                )
            case Step.FAIL | Step.FAIL_UNKNOWN:
                raise AssertionError("the attempt has ended the job")

    async def _wait_as_told(self, error: DarkroomError, deployment: Deployment, slot: Slot) -> None:
        seconds = error.retry_after if error.retry_after is not None else verdicts.UNTOLD_WAIT_SECONDS
        until = datetime.now(UTC) + timedelta(seconds=min(seconds, verdicts.LONGEST_WAIT_SECONDS))
        limited = error.code == "rate_limit_exceeded"
        await self.lease.uncount_call()  # first: the pacing record is everybody's, and may take long to write
        await self.room.pacer.blocked(deployment, until, slot=slot if limited else None)

    async def _connect_again(self, error: DarkroomError, deployment: Deployment) -> None:
        """Another deployment at once, where one can serve; else a pause, and after some the end of patience."""
        await self.lease.uncount_call()
        self.unreachable.add(deployment.name)
        others = [entry for entry in self._able() if entry.name not in self.unreachable]
        if others and await self.room.pacer.estimate_wait(others) is not None:
            return
        self.unreachable.clear()
        if self.rounds < len(RETRY_CONNECT):
            self.rounds += 1
            await self._sleep_until(datetime.now(UTC) + timedelta(seconds=RETRY_CONNECT[self.rounds - 1]))
        elif self.deadline is not None:
            await ending.fail(self.room, self.lease, error)
        else:
            await self._come_back(Later(datetime.now(UTC) + NO_CONNECTION, deployment.name))
