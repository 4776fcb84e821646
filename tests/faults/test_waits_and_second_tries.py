"""Verdicts of answers that ask to wait (429, 503) and of those that own a failure (408, 500)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.pipeline import accept
from tests.support.app_in_process import App, deployment

Configure = Callable[..., None]


def asked_to_wait(how: str, seconds: float) -> dict[str, Any]:
    if how == "429":
        return {"name": "rate_limited", "retry_after_seconds": seconds}
    return {"name": "service_unavailable", "headers": {"retry-after-ms": str(round(seconds * 1000))}}


@pytest.mark.parametrize("how", ["429", "503"])
async def test_the_service_is_asked_again_when_it_said_and_no_attempt_is_counted(app: App, how: str) -> None:
    app.model.fail(asked_to_wait(how, 0.4), asked_to_wait(how, 0.4))
    job = await app.run()
    calls = app.model.calls()
    assert [call["status"] for call in calls] == [int(how), int(how), 200]
    assert all(later["time"] - earlier["finished"] >= 0.39 for earlier, later in itertools.pairwise(calls))
    assert (job.status, job.attempts) == ("succeeded", 1)
    assert app.storage.outcomes(job.id) == ["refused", "refused", "billed"]


@pytest.mark.parametrize("how", ["429", "503"])
async def test_a_long_wait_frees_the_worker_and_blocks_everybody(app: App, how: str) -> None:
    app.model.fail(asked_to_wait(how, 40))
    job, other = await app.run(), await app.run(prompt="another")
    for waiting in (job, other):
        assert (waiting.status, waiting.lease_owner, waiting.attempts) == ("queued", None, 0)
        assert waiting.wake_at is not None
        assert waiting.wake_at - datetime.now(UTC) > timedelta(seconds=25)
    assert len(app.model.calls()) == 1


async def test_a_synchronous_caller_is_told_how_long_the_service_asked_to_wait(app: App) -> None:
    app.model.fail(asked_to_wait("429", 300))
    job = await app.run_now()
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["status"]) == ("rate_limit_exceeded", 429)
    assert 60 < job.error["retry_after"] <= 300
    assert len(app.model.calls()) == 1
    assert job.attempts == 0


async def test_another_deployment_takes_the_job_of_one_that_asked_to_wait(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url), deployment(app.model.url, "second", priority=1)])
    app.model.fail(asked_to_wait("429", 40))
    job = await app.run()
    assert (job.status, job.deployment) == ("succeeded", "second")
    assert len(app.model.calls()) == 2


@pytest.mark.parametrize("name", ["server_error", "internal_error", "request_timeout"])
async def test_a_failure_the_service_owns_gets_one_more_try(app: App, name: str) -> None:
    app.model.fail({"name": name})
    job = await app.run()
    assert (job.status, job.attempts) == ("succeeded", 2)
    assert len(app.model.calls()) == 2
    assert app.storage.outcomes(job.id) == ["refused", "billed"]


@pytest.mark.parametrize("name", ["server_error", "internal_error", "request_timeout"])
async def test_there_is_no_third_try(app: App, name: str) -> None:
    app.model.fail({"name": name, "times": 3})
    job = await app.run()
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["status"]) == ("service_error", 502)
    assert len(app.model.calls()) == 2
    assert app.storage.outcomes(job.id) == ["refused", "refused"]
    assert app.storage.results_of(job.id) == []


async def test_waits_between_two_tries_do_not_use_up_the_second(app: App) -> None:
    app.model.fail({"name": "server_error"}, asked_to_wait("429", 0.05), asked_to_wait("503", 0.05))
    job = await app.run()
    assert (job.status, job.attempts) == ("succeeded", 2)
    assert len(app.model.calls()) == 4


async def test_a_job_that_waited_longer_than_allowed_expires_without_a_call(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) - timedelta(hours=24, minutes=1)

    with monkeypatch.context() as patch:
        patch.setattr(accept, "datetime", Yesterday)
        job_id = await app.submit()
    job = await app.deliver(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["status"]) == ("expired", 504)
    assert app.model.calls() == []
    assert app.storage.ledger(job_id) == []
