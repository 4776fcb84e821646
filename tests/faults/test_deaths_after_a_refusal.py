"""A runner that dies after the model has refused: nobody asks again, and what may have been paid for is told."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.job import Job
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger
from tests.support.app_in_process import TAKE_OVER_SECONDS, App
from tests.support.dying import away, die_at
from tests.support.streams import refuse_at_the_end


def assert_refused_once(app: App, job: Job, ledger: str) -> None:
    assert len(app.model.calls()) == 1
    assert (job.status, job.error and job.error["code"]) == ("failed", "moderation_blocked")
    assert app.storage.outcomes(job.id) == [ledger]


async def assert_perhaps_paid(app: App, job: Job) -> None:
    assert_refused_once(app, job, "unknown")
    assert float(app.storage.ledger(job.id)[-1]["possibly_billed"]) > 0
    assert float((await app.document(job.id))["cost"]["possibly_billed"]) > 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("place", "name"), [(Ledger, "settle"), (JobFiles, "put_result"), (Lease, "finish")], ids=str)
async def test_a_refusal_is_never_asked_again_whatever_step_the_runner_dies_at(
    app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, when: str
) -> None:
    app.model.fail({"name": "moderation_blocked"})
    job_id = await die_at(app, monkeypatch, place, name, when)

    assert_refused_once(app, await app.deliver(job_id), "refused")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("place", "name"), [(Ledger, "settle"), (JobFiles, "put_result"), (Lease, "finish")], ids=str)
async def test_one_behind_an_image_that_came_whole_stays_unknown_whatever_step_the_runner_dies_at(
    app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, when: str
) -> None:
    refuse_at_the_end(monkeypatch)
    job_id = await die_at(app, monkeypatch, place, name, when, stream=True)

    await assert_perhaps_paid(app, await app.deliver(job_id))


async def test_it_stays_unknown_when_the_runner_that_takes_over_dies_too(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_at_the_end(monkeypatch)
    job_id = await die_at(app, monkeypatch, Ledger, "settle", "before", stream=True)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "settle", away)
        with pytest.raises(DarkroomError, match="away"):
            await app.deliver(job_id)
    await app.put_clock_forward(2 * TAKE_OVER_SECONDS)

    await assert_perhaps_paid(app, await app.deliver(job_id))
