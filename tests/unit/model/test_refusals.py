"""What the service refuses with, and what follows: the verdict table of design section 6, status by status."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError, Verdict
from shared.model.client import refusal, retry_after


def refused(status: int, error: Any = None, headers: dict[str, str] | None = None) -> DarkroomError:
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return refusal(status, httpx.Headers(headers or {}), body)


@pytest.mark.parametrize(
    ("status", "error", "verdict", "code"),
    [
        (429, {"code": "429", "message": "call rate limit"}, Verdict.WAIT, "rate_limit_exceeded"),
        (503, None, Verdict.WAIT, "service_busy"),
        (408, None, Verdict.ONCE_MORE, "service_error"),
        (500, {"type": "server_error", "code": None, "message": "sorry"}, Verdict.ONCE_MORE, "service_error"),
        (500, None, Verdict.UNKNOWN, "outcome_unknown"),
        (502, {"message": "bad gateway"}, Verdict.UNKNOWN, "outcome_unknown"),
        (504, None, Verdict.UNKNOWN, "outcome_unknown"),
        (302, None, Verdict.UNKNOWN, "outcome_unknown"),
        (401, {"code": "401", "message": "bad key"}, Verdict.DEPLOYMENT_OUT, "deployment_refused"),
        (401, {"code": "PermissionDenied", "message": "lacks action"}, Verdict.DEPLOYMENT_OUT, "deployment_refused"),
        (403, {"code": "Forbidden", "message": "Access denied due to Virtual Network/Firewall rules."},
         Verdict.DEPLOYMENT_OUT, "deployment_refused"),
        (403, {"code": "Forbidden", "message": "temporarily blocked because of content policy behaviour"},
         Verdict.FAIL, "Forbidden"),
        (404, {"code": "DeploymentNotFound", "message": "no"}, Verdict.DEPLOYMENT_OUT, "deployment_refused"),
        (400, {"code": "moderation_blocked", "message": "no"}, Verdict.FAIL, "moderation_blocked"),
        (400, {"code": "contentFilter", "message": "no"}, Verdict.FAIL, "contentFilter"),
        (400, {"code": "unknown_parameter", "param": "style", "message": "no"}, Verdict.FAIL, "unknown_parameter"),
        (422, None, Verdict.FAIL, "422"),
    ],
)  # fmt: skip
def test_each_status_has_its_verdict(status: int, error: Any, verdict: Verdict, code: str) -> None:
    found = refused(status, error)

    assert (found.verdict, found.code) == (verdict, code)


def test_a_refusal_keeps_the_services_own_reason() -> None:
    filters = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": {"hate": {"filtered": True}}}
    found = refused(400, {"code": "content_policy_violation", "type": "x", "message": "Why.", "inner_error": filters})

    assert found.to_dict() == {
        "message": "Why.", "type": "x", "param": None, "code": "content_policy_violation", "inner_error": filters,
    }  # fmt: skip
    assert found.status == 400


def test_the_gateways_bare_body_is_understood_too() -> None:
    body = b'{"statusCode": 401, "message": "Unauthorized. Access token is missing."}'

    assert refusal(401, httpx.Headers(), body).verdict is Verdict.DEPLOYMENT_OUT
    assert refusal(500, httpx.Headers(), body).verdict is Verdict.ONCE_MORE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "whenever"}, None),
    ],
)
def test_the_time_to_wait_is_read_as_the_official_clients_read_it(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def test_the_time_to_wait_may_be_a_date() -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)
    found = retry_after(httpx.Headers({"retry-after": format_datetime(at, usegmt=True)}))

    assert found is not None
    assert 50 < found <= 60


@given(st.integers(300, 599), st.binary(max_size=100))
def test_no_answer_of_the_service_makes_the_client_fail_otherwise(status: int, body: bytes) -> None:
    assert refusal(status, httpx.Headers(), body).verdict in Verdict
