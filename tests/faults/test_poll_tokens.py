"""Poll tokens: each 202 of a submit mints one, and a job's row keeps the last eight."""

from __future__ import annotations

import pytest

from functions import jobs
from shared.errors import DarkroomError
from shared.jobs.job import KEPT_TOKENS
from shared.pipeline import read
from tests.support.app_in_process import App
from tests.support.doors import call


async def test_the_ninth_token_of_a_job_takes_the_place_of_the_first(app: App) -> None:
    locations = []
    for _ in range(KEPT_TOKENS + 1):
        answer = await call(
            jobs.submit_job,
            b'{"prompt": "a lighthouse", "quality": "low"}',
            headers={"content-type": "application/json", "idempotency-key": "order 7"},
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
    job_id = await app.submit()
    before = (await app.job(job_id)).token_hashes
    await app.deliver(job_id)

    assert (await app.job(job_id)).token_hashes == before
    assert len(before) == 1
