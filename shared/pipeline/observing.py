"""What operators see of a job's way: the spans of its trace, and the metrics taken on it (docs/telemetry.md).

The other modules of the pipeline come in here, each by one line at the place that is observed: nothing here decides
anything, and what a metric says is never read back. The account is the ledger's; these figures may miss what a runner
that died had not yet sent.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate
from urllib.parse import urlsplit

from shared.errors import DarkroomError
from shared.images import pricing
from shared.images.pricing import Cost
from shared.jobs.job import Door, Job
from shared.jobs.ledger import Outcome
from shared.model.client import Answer
from shared.pipeline import prices, verdicts
from shared.pipeline.verdicts import Step
from shared.platform import metrics, tracing
from shared.settings import Deployment

if TYPE_CHECKING:
    from shared.delivery.results import ResultWriter
    from shared.jobs.batch import Batch
    from shared.jobs.pacing import Slot
    from shared.pipeline.attempt import Attempt
    from shared.pipeline.rooms import Rooms
    from shared.pipeline.run import _Run


@asynccontextmanager
async def run(job: Job, previous: Job | None = None) -> AsyncIterator[None]:
    """One run of `job`, `previous` being the job as it waited; in the trace that its request began."""
    if previous is not None and previous.wake_at is not None:
        waited = (datetime.now(UTC) - previous.wake_at).total_seconds()
        metrics.record("darkroom.queue.wait", max(waited, 0.0), {"darkroom.door": job.door.value})
    facts = {"darkroom.door": job.door.value, "darkroom.kind": job.kind, "darkroom.attempt": job.attempt}
    with tracing.about(job.id), tracing.span("run", facts, parent=job.traceparent, links=(tracing.invocation(),)):
        yield


def turn(
    take: Callable[[_Run], Awaitable[tuple[Deployment, Slot] | None]],
) -> Callable[[_Run], Awaitable[tuple[Deployment, Slot] | None]]:
    """The wait for a slot. A job that was given back to wait has waited since its first run began."""

    @functools.wraps(take)
    async def observed(run: _Run) -> tuple[Deployment, Slot] | None:
        job = run.lease.job
        since = (job.started_at if job.calls == 0 else None) or datetime.now(UTC)
        with tracing.span("wait for slot") as span:
            taken = await take(run)
            span.set_attribute("darkroom.given_back", taken is None)
            if taken is None:
                return None
            span.set_attribute("darkroom.deployment", taken[0].name)
        waited = max((datetime.now(UTC) - since).total_seconds(), 0.0)
        metrics.record("darkroom.pacing.wait", waited, {"darkroom.deployment": taken[0].name})
        return taken

    return observed


def call(
    make: Callable[[Attempt, ResultWriter], Awaitable[Answer]],
) -> Callable[[Attempt, ResultWriter], Awaitable[Answer]]:
    """The call, named as the conventions for generative AI have it
    (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/)."""

    @functools.wraps(make)
    async def observed(attempt: Attempt, writer: ResultWriter) -> Answer:
        deployment, request = attempt.deployment, attempt.accepted.request
        metrics.during_a_call(_of(deployment))
        facts: dict[str, str | int] = {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.output.type": "image",
            "gen_ai.request.model": deployment.model,
            "gen_ai.request.choice.count": request.n,
            "server.address": urlsplit(deployment.endpoint).hostname or "",
            "darkroom.deployment": deployment.name,
            "darkroom.call": attempt.lease.job.calls,
            "darkroom.size": request.size,
            "darkroom.quality": request.quality,
            "darkroom.images_in": len(attempt.accepted.images),
        }
        if deployment.region:
            facts["cloud.region"] = deployment.region
        outcome = "ok"
        try:
            with tracing.span(f"generate_content {deployment.model}", facts, kind="CLIENT") as span:
                answer = await make(attempt, writer)
                for kind, count in _tokens(answer):
                    span.set_attribute(f"gen_ai.usage.{kind}_tokens", count)
                if answer.region:
                    span.set_attribute("cloud.region", answer.region)
                return answer
        except BaseException as error:
            outcome = metrics.code(tracing.reason(error))
            raise
        finally:
            metrics.record("darkroom.model.calls", 1, {**_of(deployment), "darkroom.outcome": outcome})

    return observed


def answered(deployment: Deployment, answer: Answer) -> None:
    """An answer came, and is paid for."""
    facts = _of(deployment)
    for kind, count in _tokens(answer):
        metrics.record("darkroom.tokens", count, {**facts, "gen_ai.token.type": kind})
    cost = pricing.cost(answer.body.get("usage"), deployment.model, prices.current())
    if cost is not None:
        _cost(facts, cost, "billed")


def failed(deployment: Deployment, error: DarkroomError, step: Step, unknown: Cost | None) -> None:
    """A call brought no answer; `unknown` is what it may cost all the same."""
    facts = _of(deployment)
    if step is Step.FAIL and verdicts.outcome(step, error) is Outcome.REFUSED:
        metrics.record("darkroom.refusals", 1, {**facts, "darkroom.code": metrics.code(error.code)})
    if step is Step.DEPLOYMENT_OUT:
        metrics.record("darkroom.deployments.out", 1, {"darkroom.deployment": deployment.name})
    if unknown is not None:
        _cost(facts, unknown, "possibly billed")


def _cost(facts: dict[str, str], cost: Cost, certainty: str) -> None:
    about = {**facts, "darkroom.certainty": certainty, "darkroom.currency": cost.currency}
    metrics.record("darkroom.cost", float(cost.amount), about)


def storing(
    store: Callable[[Attempt, Answer, ResultWriter], Awaitable[None]],
) -> Callable[[Attempt, Answer, ResultWriter], Coroutine[Any, Any, None]]:
    """All that is stored after an answer, to the end of the job."""

    @functools.wraps(store)
    async def observed(attempt: Attempt, answer: Answer, writer: ResultWriter) -> None:
        await metrics.timed("store", "darkroom.store.duration", store(attempt, answer, writer))

    return observed


def ended(job: Job, code: str | None = None) -> None:
    facts = {"darkroom.status": job.status.value, "darkroom.door": job.door.value, "darkroom.kind": job.kind}
    if code is not None:
        facts["darkroom.code"] = metrics.code(code)
    metrics.record("darkroom.jobs.ended", 1, facts)


def born_of_a_batch[**P, T](
    prepare: Callable[Concatenate[Rooms, Batch, str, P], Awaitable[T]],
) -> Callable[Concatenate[Rooms, Batch, str, P], Coroutine[Any, Any, T]]:
    """A job of a batch has a trace of its own, linked to that of the request that submitted the batch: a trace of a
    thousand jobs would be of no use."""

    @functools.wraps(prepare)
    async def observed(room: Rooms, batch: Batch, job_id: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with (
            tracing.about(job_id),
            tracing.span("accept", {"darkroom.door": Door.BATCH.value}, parent="", links=(batch.traceparent,)),
        ):
            return await prepare(room, batch, job_id, *args, **kwargs)

    return observed


async def deployments(room: Rooms, known: tuple[Deployment, ...]) -> None:
    """Say of each deployment whether it is out, as everybody's pacing record has it."""
    for state in await room.pacer.view(known):
        out = 1 if state.out_reason is not None else 0
        metrics.record("darkroom.deployments.out", out, {"darkroom.deployment": state.name})


def _of(deployment: Deployment) -> dict[str, str]:
    return {"darkroom.deployment": deployment.name, "gen_ai.request.model": deployment.model}


def _tokens(answer: Answer) -> list[tuple[str, int]]:
    usage: dict[str, Any] = answer.body.get("usage") or {}
    counts = [(kind, usage.get(f"{kind}_tokens")) for kind in ("input", "output")]
    return [(kind, count) for kind, count in counts if isinstance(count, int) and 0 <= count < 2**31]
