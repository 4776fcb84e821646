"""Pacing: how long a backlog takes at a quota, and what a caller sees who comes in its middle.

The whole local stack: the host with one and with four copies of the app's worker, Azurite, and a model server that
takes 60 requests a minute policed in sliding windows of 10 s, in which refused calls count, and 20 s for a picture.

- *Drain*: 60 jobs at once. Measured at the model server, from the start of the first call to the start of the last one;
  the ideal is one call a second, 59 s.
- *Beside it*: the same 60 jobs done the usual way (`usual_way`), on the same model server.
- *A caller in the middle*: a synchronous request while a batch of 100 is under way. Slots go to whoever asks first and
  queued jobs hold them for a minute ahead, so its turn is the slot that is free when it comes. Measured is by how many
  intervals (seconds) its call comes later than that.
"""

from __future__ import annotations

from typing import Any, Final

from bench import usual_way
from bench.backlog import LATENCY_SECONDS, REQUESTS_PER_MINUTE, Backlog, Calls, backlog
from bench.report import Result, Target, report

JOBS: Final = 60
BATCH: Final = 100
CALLS_BEFORE_CALLER: Final = 20
INTERVAL_SECONDS: Final = 60 / REQUESTS_PER_MINUTE
IDEAL_SECONDS: Final = (JOBS - 1) * INTERVAL_SECONDS
TO_IDEAL: Final = 1.05
TURN_INTERVALS: Final = 2.0
_CALLER: Final = "A caller in the middle of a batch"


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found. Takes eight minutes; quick: a quarter of that."""
    print(
        f"\nPacing: {REQUESTS_PER_MINUTE} requests a minute policed in 10 s windows, {LATENCY_SECONDS} s a picture, "
        f"a backlog of {JOBS} jobs (ideal {IDEAL_SECONDS:.0f} s)"
    )
    targets: list[Target] = []
    figures: dict[str, Any] = {"drained": {}}
    if not quick:
        with backlog(workers=1) as stack:
            targets += _drained(stack, "1 worker", figures)
    with backlog(workers=4) as stack:
        targets += _drained(stack, "4 workers", figures)
        if not quick:
            _beside(stack, figures)
            targets += _in_the_middle(stack, figures)
    return report(Result(targets, figures))


def _drained(stack: Backlog, who: str, figures: dict[str, Any]) -> list[Target]:
    stack.submit(JOBS)
    calls = stack.calls(served=JOBS)
    to_ideal = calls.seconds / IDEAL_SECONDS
    figures["drained"][who] = {"to_ideal": to_ideal, "refused": calls.refused, "served": calls.served}
    return [
        Target(f"time to drain, to the ideal, {who}", to_ideal, TO_IDEAL, beside=_shown(calls)),
        Target(f"calls refused, {who}", calls.refused, 0, _number),
    ]


def _beside(stack: Backlog, figures: dict[str, Any]) -> None:
    stack.forget()
    poisoned = usual_way.drain(stack.info.model, stack.info.ca, JOBS)
    calls = stack.calls(served=JOBS - poisoned)
    to_ideal = calls.seconds / IDEAL_SECONDS
    figures["usual_way"] = {"to_ideal": to_ideal, "refused": calls.refused, "served": calls.served}
    print(
        f"  the usual way ({usual_way.IN_FLIGHT} in flight, openai SDK, {usual_way.TRIES} tries): time to the ideal "
        f"{to_ideal:.2f} ({calls.seconds:.1f} s), {calls.refused} calls refused, "
        f"{calls.served} of {JOBS} jobs served, {poisoned} poisoned"
    )


def _in_the_middle(stack: Backlog, figures: dict[str, Any]) -> list[Target]:
    stack.forget()
    stack.submit_batch(BATCH)
    stack.taken(CALLS_BEFORE_CALLER)
    turn = stack.generate(_CALLER)
    calls = sorted(stack.taken(CALLS_BEFORE_CALLER), key=lambda call: call["time"])
    position = next(place for place, call in enumerate(calls) if call["parameters"].get("prompt") == _CALLER)
    late = max(0.0, calls[position]["time"] - turn) / INTERVAL_SECONDS
    figures["caller"] = {"intervals_late": late, "position": position + 1, "batch": BATCH}
    beside = f"came after {CALLS_BEFORE_CALLER} calls of a batch of {BATCH}, was served as number {position + 1}"
    return [Target("a caller's wait beyond its turn, in intervals", late, TURN_INTERVALS, beside=beside)]


def _shown(calls: Calls) -> str:
    gaps = [later - earlier for earlier, later in zip(calls.times, calls.times[1:], strict=False)]
    return f"{calls.seconds:.1f} s; calls {min(gaps):.2f} to {max(gaps):.2f} s apart"


def _number(count: float) -> str:
    return f"{count:.0f}"
