"""Turns at the model that lie ahead: a queued job gives its worker back, a caller who waits is not passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions import images
from shared.jobs.pacing import Later, Slot
from shared.pipeline import run
from shared.pipeline.rooms import rooms
from shared.settings import settings
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.refusals import GOOD

Configure = Callable[..., None]


@pytest.fixture
def slow(app: App, configure: Configure) -> App:
    """An app whose deployment takes a call in three seconds."""
    configure([deployment(app.model.url, requests_per_minute=20)])
    return app


async def next_slot() -> datetime:
    """When the slot that nobody has begins."""
    (state,) = await (await rooms()).pacer.view(settings().deployments)
    assert state.next_at is not None
    return state.next_at


async def test_a_far_slot_holds_no_worker_and_is_kept_for_the_message_that_comes_back(
    slow: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await rooms()
    sent: list[tuple[str, float]] = []
    reserved: list[Slot | Later] = []
    reserve = room.pacer.reserve

    async def send(job_id: str, delay: float = 0.0) -> None:
        sent.append((job_id, delay))

    async def watched(*args: Any, **options: Any) -> Slot | Later:
        reserved.append(await reserve(*args, **options))
        return reserved[-1]

    job_id = await slow.submit()
    await reserve(settings().deployments)
    monkeypatch.setattr(room.queue, "submit", send)
    monkeypatch.setattr(room.pacer, "reserve", watched)
    with monkeypatch.context() as patch:
        patch.setattr(run, "NEAR", timedelta(seconds=0.1))
        patch.setattr(run, "WAKE_BEFORE", timedelta(seconds=0.5))
        waiting = await slow.deliver(job_id)

    assert slow.model.calls() == []
    assert (waiting.status, waiting.lease_owner, waiting.deployment) == ("queued", None, "gpt-image-1")
    assert [waiting.slot_at] == [slot.at for slot in reserved]
    ((woken, delay),) = sent
    assert (woken, delay > 0) == (job_id, True)

    ended = await slow.deliver(job_id)

    assert ended.status == "succeeded"
    assert len(reserved) == 1
    (call,) = slow.model.calls()
    assert call["time"] >= reserved[0].at.timestamp()


async def test_a_caller_who_waits_has_a_turn_when_a_backlog_has_filled_the_minute(
    slow: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HORIZON", timedelta(seconds=1))
    for _ in range(2):
        await (await rooms()).pacer.reserve(settings().deployments)

    queued = await slow.run(prompt="of the backlog")
    full = await next_slot()
    served = await slow.run_now()

    assert (queued.status, queued.slot_at) == ("queued", None)
    assert served.status == "succeeded"
    (call,) = slow.model.calls()
    assert call["time"] >= full.timestamp()


async def test_a_caller_whose_turn_would_come_too_late_is_told_when_to_come_again(
    slow: App, configure: Configure
) -> None:
    pacer = (await rooms()).pacer
    await pacer.blocked(settings().deployments[0], datetime.now(UTC) + timedelta(seconds=100))
    configure([deployment(slow.model.url)], SYNC_BUDGET_SECONDS="60")
    job = await slow.run_now()

    assert (job.status, job.error and job.error["code"]) == ("failed", "rate_limit_exceeded")
    assert job.error is not None
    assert 45 < job.error["retry_after"] <= 55  # 100 s to the turn and 15 s for the picture, less the 60 s there are
    assert slow.model.calls() == []


async def test_a_caller_whom_no_turn_can_serve_in_time_is_refused_before_anything_is_there(
    app: App, configure: Configure
) -> None:
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="60")
    await (await rooms()).pacer.blocked(settings().deployments[0], datetime.now(UTC) + timedelta(seconds=100))
    slots = app.storage.rows("pacing")
    answer = await call(
        images.image_generations_v1, json.dumps(GOOD).encode(), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 429
    assert json.loads(bytes(answer.body))["error"]["code"] == "rate_limit_exceeded"
    assert 45_000 < int(answer.headers["retry-after-ms"]) <= 55_000  # as above
    assert (app.storage.rows("jobs"), app.storage.blobs("requests")) == ([], [])
    assert app.storage.rows("pacing") == slots
    assert app.model.calls() == []
