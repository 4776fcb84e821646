"""What follows a failed call: the verdict table of design section 6 as code. Pure."""

from __future__ import annotations

from enum import Enum, auto

from shared.errors import DarkroomError, Verdict
from shared.jobs.ledger import Outcome

UNTOLD_WAIT_SECONDS = 10.0
"""How long a 429 or 503 that names no time is respected: the longer of the windows the service polices."""
LONGEST_WAIT_SECONDS = 3_600.0
_MOST_CALLS_COUNTED = 2
_MOST_CALLS_ALWAYS = 3

NOT_THE_JOBS_FAULT = ("lease_lost", "job_ended", "storage_unavailable")
"""Failures that say nothing about the request: the job does not end by them, another run goes on with it."""

NOT_THE_LAST_WORD = frozenset(
    {
        "not_connected",
        "source_unavailable",
        "rate_limit_exceeded",
        "service_busy",
        "service_error",
        "deployment_refused",
    }
)
"""Error codes of calls that were refused or never left, and after which the job goes on."""


class Step(Enum):
    FAIL = auto()
    FAIL_UNKNOWN = auto()
    """The job ends; the call may have been paid for."""
    WAIT = auto()
    CONNECT_AGAIN = auto()
    DEPLOYMENT_OUT = auto()
    CALL_AGAIN = auto()
    """The service failed by its own account and is asked once more."""
    PAY_AGAIN = auto()
    """The outcome is unknown, and the operator chose to ask again all the same."""


MAYBE_PAID = frozenset({Step.FAIL_UNKNOWN, Step.PAY_AGAIN})

_OUTCOMES = {
    Step.FAIL: Outcome.REFUSED,
    Step.FAIL_UNKNOWN: Outcome.UNKNOWN,
    Step.WAIT: Outcome.REFUSED,
    Step.CONNECT_AGAIN: Outcome.VOID,
    Step.DEPLOYMENT_OUT: Outcome.REFUSED,
    Step.CALL_AGAIN: Outcome.REFUSED,
    Step.PAY_AGAIN: Outcome.UNKNOWN,
}


def next_step(error: DarkroomError, *, calls_counted: int, retry_unknown: str, delivered: bool) -> Step:
    """What to do after `error`. `calls_counted` includes the call that failed; `retry_unknown` is `never`, `crash` or
    `always`; `delivered` says whether images came whole before the failure: a refusal behind them takes nothing back.
    """
    match error.verdict:
        case Verdict.NOT_CONNECTED:
            return Step.CONNECT_AGAIN
        case Verdict.WAIT:
            return Step.WAIT
        case Verdict.DEPLOYMENT_OUT:
            return Step.DEPLOYMENT_OUT
        case Verdict.ONCE_MORE if calls_counted < _MOST_CALLS_COUNTED:
            return Step.CALL_AGAIN
        case Verdict.UNKNOWN:
            again = retry_unknown == "always" and calls_counted < _MOST_CALLS_ALWAYS
            return Step.PAY_AGAIN if again else Step.FAIL_UNKNOWN
        case _:
            return Step.FAIL_UNKNOWN if delivered else Step.FAIL


def outcome(step: Step, error: DarkroomError) -> Outcome:
    """What the ledger says of the call: one that was dropped before it was sent left nothing to pay."""
    return Outcome.VOID if error.code == "canceled" else _OUTCOMES[step]


def may_repeat_after_crash(calls_counted: int, retry_unknown: str) -> bool:
    """Whether a job whose runner died in a call is called once more."""
    return retry_unknown != "never" and calls_counted < _MOST_CALLS_COUNTED
