"""Poll tokens: each 202 of a submit mints one, and a job's row keeps the last eight. And where their URLs lead."""

from __future__ import annotations

import json

import pytest
from starlette.responses import Response

from functions import jobs
from shared.errors import DarkroomError
from shared.jobs.job import KEPT_TOKENS
from shared.pipeline import read
from tests.support.app_in_process import App
from tests.support.doors import call

BODY = b'{"prompt": "a lighthouse", "quality": "low"}'
JSON = {"content-type": "application/json"}


async def test_the_ninth_token_of_a_job_takes_the_place_of_the_first(app: App) -> None:
    locations = []
    for _ in range(KEPT_TOKENS + 1):
        answer = await call(
            jobs.submit_job,
            BODY,
            headers={**JSON, "idempotency-key": "order 7"},
        )
        assert answer.status_code == 202
        locations.append(answer.headers["location"].partition("/api/jobs/")[2])
    first, *others = [(path.partition("/")[0], path.partition("token=")[2]) for path in locations]

    assert len({token for _, token in (first, *others)}) == 9
    assert {job_id for job_id, _ in others} == {first[0]}, "one key is one job"
    for job_id, token in others:
        assert (await read.find_by_token(job_id, token)).id == job_id
    with pytest.raises(DarkroomError) as refused:
        await read.find_by_token(*first)
    assert refused.value.code == "invalid_poll_token"


async def test_a_poll_keeps_its_token_and_mints_no_other(app: App) -> None:
    submitted = await call(jobs.submit_job, BODY, headers=JSON)
    location = submitted.headers["location"]
    job_id, token = location.partition("/api/jobs/")[2].split("/poll?token=")
    before = (await app.job(job_id)).token_hashes

    async def poll() -> Response:
        return await call(jobs.poll_job, method="GET", path_params={"id": job_id}, query={"token": token})

    waiting = await poll()
    await app.deliver(job_id)
    ended = await poll()

    assert (waiting.status_code, waiting.headers["location"]) == (202, location)
    assert (ended.status_code, json.loads(bytes(ended.body))["links"]["poll"]) == (200, location)
    assert (await app.job(job_id)).token_hashes == before
    assert len(before) == 1


async def test_links_lead_to_the_app_whatever_host_the_request_names(app: App) -> None:
    elsewhere = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    answer = await call(jobs.submit_job, BODY, headers={**JSON, **elsewhere})
    document = json.loads(bytes(answer.body))

    for link in (answer.headers["location"], *document["links"].values()):
        assert link.startswith("http://127.0.0.1:7071/api/jobs/")
    assert b"evil" not in answer.body
