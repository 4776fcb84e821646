"""What follows a failure, and that no policy can make a job pay without end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CODES, DarkroomError
from shared.jobs.ledger import Outcome
from shared.pipeline.verdicts import Step, may_repeat_after_crash, next_step, outcome


@pytest.mark.parametrize(
    ("code", "calls", "policy", "step", "said"),
    [
        ("not_connected", 1, "crash", Step.CONNECT_AGAIN, Outcome.VOID),
        ("source_unavailable", 1, "crash", Step.CONNECT_AGAIN, Outcome.VOID),
        ("rate_limit_exceeded", 1, "crash", Step.WAIT, Outcome.REFUSED),
        ("service_busy", 5, "crash", Step.WAIT, Outcome.REFUSED),
        ("service_error", 1, "crash", Step.CALL_AGAIN, Outcome.REFUSED),
        ("service_error", 2, "always", Step.FAIL, Outcome.REFUSED),
        ("outcome_unknown", 1, "crash", Step.FAIL_UNKNOWN, Outcome.UNKNOWN),
        ("outcome_unknown", 1, "never", Step.FAIL_UNKNOWN, Outcome.UNKNOWN),
        ("outcome_unknown", 1, "always", Step.PAY_AGAIN, Outcome.UNKNOWN),
        ("outcome_unknown", 3, "always", Step.FAIL_UNKNOWN, Outcome.UNKNOWN),
        ("deployment_refused", 1, "crash", Step.DEPLOYMENT_OUT, Outcome.REFUSED),
        ("invalid_value", 1, "always", Step.FAIL, Outcome.REFUSED),
        ("canceled", 1, "always", Step.FAIL, Outcome.VOID),
    ],
)
def test_each_failure_is_followed_by_its_step(code: str, calls: int, policy: str, step: Step, said: Outcome) -> None:
    error = DarkroomError(code, "x")

    assert next_step(error, calls_counted=calls, retry_unknown=policy, delivered=False) is step
    assert outcome(step, error) is said


def test_a_refusal_behind_images_that_came_whole_fails_as_one_that_may_be_billed() -> None:
    error = DarkroomError.from_service(400, {"code": "moderation_blocked"})
    step = next_step(error, calls_counted=1, retry_unknown="always", delivered=True)

    assert step is Step.FAIL_UNKNOWN
    assert outcome(step, error) is Outcome.UNKNOWN


@given(st.sampled_from(sorted(CODES)), st.integers(1, 9), st.sampled_from(["never", "crash", "always"]))
def test_images_that_came_whole_are_in_no_step_given_away(code: str, calls: int, policy: str) -> None:
    error = DarkroomError(code, "x")
    without, with_images = (
        next_step(error, calls_counted=calls, retry_unknown=policy, delivered=delivered) for delivered in (False, True)
    )

    assert with_images is (Step.FAIL_UNKNOWN if without is Step.FAIL else without)


@pytest.mark.parametrize(
    ("calls", "policy", "again"), [(1, "crash", True), (1, "always", True), (1, "never", False), (2, "crash", False)]
)
def test_a_job_whose_runner_died_is_called_once_more_at_most(calls: int, policy: str, again: bool) -> None:
    assert may_repeat_after_crash(calls, policy) is again
