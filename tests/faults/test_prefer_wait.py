"""`Prefer: wait=n` at the asynchronous door: the end of the job as the first answer, where it comes in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from functions import jobs
from shared.errors import DarkroomError
from shared.pipeline import read, waiting
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("ask_often")


async def submit(prefer: str, *, gone: asyncio.Event | None = None, key: str | None = None) -> Response:
    body = json.dumps({"prompt": "a lighthouse", "quality": "low"}).encode()
    sent = {"content-type": "application/json", "prefer": prefer}
    if key is not None:
        sent["idempotency-key"] = key
    return await call(jobs.submit_job, body, headers=sent, gone=gone)


def document(answer: Response) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bytes(answer.body))
    return body


async def waiting_job(app: App) -> str:
    """The id of the job that is waited for."""

    def live() -> list[str]:
        return [row["RowKey"][2:] for row in app.storage.rows("jobs") if row["RowKey"].startswith("l:")]

    return str((await eventually(live, what="the job"))[0])


async def test_a_job_that_ends_in_time_is_the_first_answer(app: App) -> None:
    answer = asyncio.create_task(submit("respond-async, wait=30"))
    job = await app.deliver(await waiting_job(app))
    response = await answer

    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=30")
    assert "location" not in response.headers
    shown = document(response)
    assert (shown["id"], shown["status"], len(shown["images"])) == (job.id, "succeeded", 1)
    assert shown["links"]["poll"]


async def test_a_job_that_fails_in_time_is_the_first_answer_too(app: App) -> None:
    app.model.fail({"name": "moderation_blocked"})
    answer = asyncio.create_task(submit("wait=30"))
    await app.deliver(await waiting_job(app))
    response = await answer

    assert response.status_code == 200
    assert document(response)["error"]["code"] == "moderation_blocked"


async def test_a_job_that_does_not_end_in_time_is_answered_202_as_always(app: App) -> None:
    response = await submit("wait=1")

    assert response.status_code == 202
    assert "preference-applied" not in response.headers
    assert response.headers["location"] == document(response)["links"]["poll"]


async def test_nobody_waits_longer_than_a_synchronous_answer_may_take(app: App, configure: Callable[..., None]) -> None:
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="1")
    response = await asyncio.wait_for(submit("wait=999999999"), 15)

    assert response.status_code == 202


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=soon", "wait", "return=minimal", "\x00"])
async def test_any_other_wish_is_passed_over(app: App, monkeypatch: pytest.MonkeyPatch, prefer: str) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("it waits")

    monkeypatch.setattr(waiting, "for_end", never)
    response = await submit(prefer)

    assert response.status_code == 202


async def test_a_caller_who_leaves_ends_the_waiting_and_not_the_job(app: App) -> None:
    gone = asyncio.Event()
    answer = asyncio.create_task(submit("wait=200", gone=gone))
    job_id = await waiting_job(app)
    gone.set()
    await asyncio.wait_for(answer, 10)

    assert (await app.job(job_id)).status == "queued"
    assert (await app.deliver(job_id)).status == "succeeded"


async def test_storage_that_fails_at_the_end_of_the_wait_does_not_make_the_caller_ask_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = read.document

    async def away_at_the_end(room: Any, job: Any, accepted: Any = None) -> Any:
        if job.ended:
            raise DarkroomError("storage_unavailable", "away")
        return await build(room, job, accepted)

    answer = asyncio.create_task(submit("wait=30"))
    job_id = await waiting_job(app)
    monkeypatch.setattr(read, "document", away_at_the_end)
    await app.deliver(job_id)
    response = await answer

    assert response.status_code == 202
    assert document(response)["id"] == job_id


async def test_a_repeat_may_wait_as_well(app: App) -> None:
    first = await submit("wait=0", key="order-1017")
    await app.deliver(document(first)["id"])
    again = await submit("wait=30", key="order-1017")

    assert (again.status_code, document(again)["status"]) == (200, "succeeded")
    assert (again.headers["idempotency-replayed"], again.headers["preference-applied"]) == ("true", "wait=30")
    assert len(app.model.calls()) == 1
