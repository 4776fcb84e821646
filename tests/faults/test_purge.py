"""Purging: what is kept of an ended job goes, but for the fact that there was one and what it cost."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from functions import images, jobs
from shared.delivery import events
from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.jobs.job import error_without_words
from shared.pipeline import purge, read
from shared.platform import folders
from shared.settings import settings
from tests.support.announcing import next_round
from tests.support.app_in_process import App
from tests.support.doors import call
from tests.support.photographs import photograph

SECRET = "a purple heron on the third of May"


async def delete(job_id: str, status: int = 200, **query: str) -> dict[str, Any]:
    answer = await call(jobs.cancel_job, method="DELETE", path_params={"id": job_id}, query=query)
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert answer.status_code == status, body
    return body


async def test_a_purged_job_keeps_neither_request_nor_images_but_its_ledger(app: App) -> None:
    job = await app.run(prompt=SECRET, n=2, images=[_source()], metadata={"order": SECRET})
    assert len(app.storage.results_of(job.id)) == 4
    assert len(app.storage.requests_of(job.id)) == 3
    ledger = app.storage.ledger(job.id)

    document = await delete(job.id, purge="true")

    assert app.storage.results_of(job.id) == []
    assert app.storage.requests_of(job.id) == []
    assert app.storage.ledger(job.id) == ledger
    assert (document["status"], document["request"], document["images"]) == ("succeeded", {}, [])
    assert (document["metadata"], document["usage"], document["cost"]) == ({}, None, None)
    assert document["purged_at"] >= document["finished_at"]
    assert SECRET not in json.dumps(app.storage.rows("jobs"), default=str)


async def test_a_refusal_that_quotes_the_prompt_keeps_its_codes_alone(app: App) -> None:
    job = await app.run(prompt=f"[[content_filter_prompt]] {SECRET}")
    before = await app.document(job.id)

    document = await delete(job.id, purge="true")

    assert document["error"]["message"] != before["error"]["message"]
    assert document["status"] == "failed"
    assert (document["error"]["code"], document["error"]["type"]) == (before["error"]["code"], before["error"]["type"])
    assert document["error"]["message"].startswith("The job was purged")
    assert document["error"].keys() <= {"message", "type", "param", "code", "inner_error"}
    assert document["error"].get("inner_error", {}).keys() <= {"code"}


def test_no_member_of_an_error_survives_but_its_codes() -> None:
    error = {
        "message": SECRET,
        "type": "t",
        "param": None,
        "code": "contentFilter",
        "status": 400,
        "retry_after": None,
        "inner_error": {"code": "ResponsibleAIPolicyViolation", "revised_prompt": SECRET},
        "another": {"quote": SECRET},
    }

    kept = error_without_words(error)

    assert kept is not None
    assert SECRET not in json.dumps(kept)
    assert (kept["code"], kept["status"], kept["inner_error"]) == (
        "contentFilter",
        400,
        {"code": "ResponsibleAIPolicyViolation"},
    )
    assert error_without_words(None) is None


async def test_purging_twice_is_as_good_as_once(app: App) -> None:
    job = await app.run()
    first = await delete(job.id, purge="true")

    assert await delete(job.id, purge="true") == first


async def test_a_canceled_job_can_be_purged(app: App) -> None:
    job_id = await app.submit()
    await delete(job_id)

    document = await delete(job_id, purge="true")

    assert (document["status"], document["request"]) == ("canceled", {})
    assert app.storage.requests_of(job_id) == []


async def test_a_job_that_has_not_ended_is_a_409_and_loses_nothing(app: App) -> None:
    job_id = await app.submit()

    error = (await delete(job_id, 409, purge="true"))["error"]

    assert (error["code"], error["param"]) == ("job_not_ended", "id")
    assert (await app.deliver(job_id)).status == "succeeded"


@pytest.mark.parametrize("value", ["1", "TRUE", "yes", ""])
async def test_purge_is_true_or_false_and_nothing_else(app: App, value: str) -> None:
    job_id = await app.submit()

    error = (await delete(job_id, 400, purge=value))["error"]

    assert (error["code"], error["param"]) == ("invalid_value", "purge")
    assert (await delete(job_id, purge="false"))["status"] == "canceled"


async def test_a_purge_that_was_cut_short_shows_nothing_and_is_finished_by_asking_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await app.run()
    with monkeypatch.context() as patch:

        async def fail(*_: object) -> int:
            raise DarkroomError("storage_unavailable", "Blob Storage failed.")

        patch.setattr(folders, "remove", fail)
        await delete(job.id, 503, purge="true")
    cut = await app.document(job.id)
    kept = app.storage.results_of(job.id)

    await delete(job.id, purge="true")

    assert (cut["request"], cut["images"]) == ({}, [])
    assert kept
    assert app.storage.results_of(job.id) == app.storage.requests_of(job.id) == []


async def test_what_was_purged_is_gone_for_every_reader(app: App) -> None:
    job = await app.run()
    await delete(job.id, purge="true")
    purged = await app.job(job.id)

    for function in (jobs.get_image, jobs.get_provenance):
        answer = await call(function, method="GET", path_params={"job": job.id, "index": "0"})
        assert (answer.status_code, json.loads(bytes(answer.body))["error"]["code"]) == (410, "purged")
    with pytest.raises(DarkroomError) as refused:
        await read.answer(purged, ImageRequest("generate", "a boat", "gpt-image-1"))
    assert refused.value.code == "purged"


async def test_a_repeat_of_a_purged_request_is_told_and_pays_nothing(app: App) -> None:
    async def ask() -> tuple[int, Any]:
        answer = await call(
            images.image_generations_v1,
            b'{"prompt": "a lighthouse", "quality": "low"}',
            headers={"content-type": "application/json", "idempotency-key": "order 7"},
        )
        text = getattr(answer, "body", None)
        return answer.status_code, json.loads(bytes(text))["error"]["code"] if text else answer.headers

    status, headers = await ask()
    await app.ended(headers["x-darkroom-job"])
    await delete(headers["x-darkroom-job"], purge="true")

    assert status == 200
    assert await ask() == (410, "purged")
    assert len(app.model.calls()) == 1


async def test_an_event_that_is_still_to_be_sent_goes_out_without_images(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await app.run(prompt=SECRET)
    sent: list[Any] = []

    async def publish(_topic: object, event: Any) -> None:
        sent.append(event)

    monkeypatch.setattr(events, "publish", publish)
    monkeypatch.setenv("EVENTS__topicEndpointUri", "https://topic.example")
    await purge.purge(job)
    settings.cache_clear()
    await next_round()

    (event,) = sent
    assert (event.type, event.data["images"], event.data["request"]) == ("Darkroom.Job.Succeeded", [], {})


async def test_the_neighbours_of_a_purged_job_keep_everything(app: App) -> None:
    one, other = await app.run(), await app.run()
    before = app.storage.results_of(other.id), app.storage.requests_of(other.id)

    await delete(one.id, purge="true")

    assert (app.storage.results_of(other.id), app.storage.requests_of(other.id)) == before


def _source() -> dict[str, str]:
    return {"data": base64.b64encode(photograph()).decode()}
