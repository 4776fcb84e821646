"""Storage, or the caller, fails at a bad moment: no accepted job is lost, and nobody is led to pay twice."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from functions import images, jobs
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.job import Job
from shared.jobs.ledger import Ledger
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.pipeline import accept, read, recover
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.doors import call
from tests.support.refusals import GOOD

Configure = Callable[..., None]
BODY = json.dumps(GOOD).encode()
JSON = {"content-type": "application/json"}


async def unavailable(*_: Any, **__: Any) -> None:
    raise DarkroomError("storage_unavailable", "Storage does not answer.")


async def test_a_job_whose_message_was_not_taken_is_accepted_and_runs_later(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(JobQueue, "submit", unavailable)
        answer = await call(jobs.submit_job, BODY, headers=JSON)
    assert answer.status_code == 202
    job_id = json.loads(bytes(answer.body))["id"]

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=3)

    monkeypatch.setattr(recover, "datetime", Later)
    assert await recover.abandoned() == 1
    await app.put_clock_forward(180)
    assert (await app.deliver(job_id)).status == "succeeded"


async def test_a_row_written_without_its_answer_still_has_its_request(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    create = JobStore.create

    async def create_and_lose_the_answer(self: JobStore, job: Job) -> Job:
        written.append((await create(self, job)).id)
        raise DarkroomError("storage_unavailable", "The answer was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "create", create_and_lose_the_answer)
        answer = await call(jobs.submit_job, BODY, headers=JSON)
    assert answer.status_code == 503
    assert (await app.deliver(written[0])).status == "succeeded"


async def test_a_call_that_was_not_made_for_want_of_the_ledger_is_written_down_as_void(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Ledger.start

    async def start_and_lose_the_answer(self: Ledger, job: Job, **facts: Any) -> None:
        await start(self, job, **facts)
        raise DarkroomError("storage_unavailable", "The answer was lost.")

    job_id = await app.submit()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "start", start_and_lose_the_answer)
        with pytest.raises(DarkroomError, match="answer was lost"):
            await app.deliver(job_id)
    assert (app.storage.outcomes(job_id), app.model.calls()) == (["void"], [])
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    assert (await app.deliver(job_id)).status == "succeeded"
    assert app.storage.outcomes(job_id) == ["void", "billed"]


async def test_nothing_of_a_refused_request_stays(app: App) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nGIF89a\r\n--b--\r\n'
    answer = await call(jobs.submit_job, form, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400
    assert app.storage.blobs("requests") == []


async def test_a_result_that_cannot_be_kept_is_not_an_invitation_to_ask_again(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure([deployment(app.model.url)], COMPAT_WAIT_FOR_STORAGE="1")

    async def away(*_: Any) -> None:
        raise ServiceRequestError("the storage account is away")

    with monkeypatch.context() as patch:
        patch.setattr(JobFiles, "put_result", away)
        answer = await call(images.image_generations_v1, BODY, headers=JSON)
    assert answer.status_code == 500
    assert json.loads(bytes(answer.body))["error"]["code"] == "internal_error"
    assert answer.headers["x-should-retry"] == "false"
    job_id = answer.headers["x-darkroom-job"]
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "outcome_unknown"
    assert len(app.model.calls()) == 1


async def test_an_answer_that_cannot_be_read_back_is_not_an_invitation_either(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(read, "answer", unavailable)
        body = json.dumps({**json.loads(BODY), "response_format": "url"}).encode()
        answer = await call(images.image_generations_v1, body, headers=JSON)
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"
    assert (await app.job(answer.headers["x-darkroom-job"])).status == "succeeded"


async def test_an_answer_that_takes_longer_than_the_budget_names_its_job_which_goes_on(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(accept.TYPICAL_SECONDS, "low", 0.0)
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="1")
    app.model.behave(latency_seconds=2.0)
    answer = await call(images.image_generations_v1, BODY, headers=JSON)
    assert answer.status_code == 504
    assert json.loads(bytes(answer.body))["error"]["code"] == "still_running"
    assert answer.headers["x-should-retry"] == "false"
    await asyncio.gather(*images._running)
    assert (await app.job(answer.headers["x-darkroom-job"])).status == "succeeded"
    assert len(app.model.calls()) == 1


async def test_a_caller_who_leaves_within_the_body_is_no_error_of_the_app(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="darkroom"):
        answer = await call(images.image_generations_v1, BODY[:10], headers=JSON, leave=True)
    assert answer.status_code == 400
    assert caplog.records == []
    assert app.storage.blobs("requests") == []


async def test_a_failure_nobody_foresaw_shows_no_trace_and_logs_no_words_of_the_caller(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"this message quotes {GOOD['prompt']}")

    monkeypatch.setattr(accept, "understand", fail)
    answer = await call(images.image_generations_v1, BODY, headers=JSON)
    assert answer.status_code == 500
    assert "RuntimeError" not in bytes(answer.body).decode()
    assert "RuntimeError" in caplog.text
    assert GOOD["prompt"] not in caplog.text


@pytest.mark.parametrize("kept", [True, False], ids=["its source gone", "its request gone"])
async def test_a_job_whose_stored_files_are_gone_ends(app: App, kept: bool) -> None:
    from tests.support.pictures import base64_text, png

    job_id = await app.submit(image=base64_text(png()))
    app.storage.delete(f"requests/{job_id}/{'source-0' if kept else 'request.json'}")
    job = await app.deliver(job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "internal_error"
    assert app.storage.outcomes(job_id) == (["refused"] if kept else [])
