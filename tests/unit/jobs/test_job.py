"""Ids sort the newest first; moves of a job are the legal ones; error summaries fit a row."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import job as jobs
from shared.jobs.job import Door, Phase, Status

moments = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments, moments)
def test_ids_of_later_jobs_sort_first(one, other):
    older, newer = sorted((one, other))
    if newer - older >= timedelta(milliseconds=1):
        assert jobs.new_id(newer) < jobs.new_id(older)


@given(moments)
def test_an_id_has_the_form_of_the_design(moment):
    job_id = jobs.new_id(moment)
    assert re.fullmatch(r"[0-9a-z]{26}", job_id)
    assert jobs.is_id(job_id)


def test_ids_of_one_millisecond_differ():
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert len({jobs.new_id(now) for _ in range(1000)}) == 1000


@given(moments, moments)
def test_the_first_id_before_a_time_parts_older_jobs_from_newer(created, bound):
    is_before = jobs.new_id(created) >= jobs.first_id_before(bound)
    milliseconds = [
        (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for moment in (created, bound)
    ]
    assert is_before == (milliseconds[0] < milliseconds[1])


@pytest.mark.parametrize(
    "text",
    ["", "a" * 25, "0" * 27, "0" * 25 + "\n", "z" * 26, "8" + "0" * 25, "0" * 25 + "A", "../" + "0" * 23, "٠" * 26],
)
def test_what_no_job_can_be_called_is_no_id(text):
    assert not jobs.is_id(text)


@pytest.mark.parametrize("ended", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_an_ended_job_moves_no_more(ended, make_job):
    job = make_job(runner="r").moved(ended)
    assert job.ended
    assert job.phase is None
    for status in Status:
        with pytest.raises(ValueError, match="does not become"):
            job.moved(status)


def test_a_queued_job_ends_only_by_way_of_a_runner(make_job):
    with pytest.raises(ValueError, match="does not become"):
        make_job().moved(Status.CANCELED)


def test_storing_comes_after_calling(make_job):
    waiting = make_job(runner="r")
    with pytest.raises(ValueError, match="does not go to"):
        waiting.moved(Status.RUNNING, phase=Phase.STORING)
    storing = waiting.moved(Status.RUNNING, phase=Phase.CALLING).moved(Status.RUNNING, phase=Phase.STORING)
    with pytest.raises(ValueError, match="does not go to"):
        storing.moved(Status.RUNNING, phase=Phase.CALLING)


def test_a_job_born_with_a_runner_is_running_its_first_attempt(make_job, clock):
    job = make_job(runner="r", door=Door.HTTP)
    assert (job.status, job.phase, job.attempt, job.lease_owner) == (Status.RUNNING, Phase.WAITING, 1, "r")
    assert job.lease_until == clock() + timedelta(seconds=60)


def test_two_runners_never_have_one_name():
    assert len({jobs.new_runner() for _ in range(100)}) == 100


def test_a_small_error_is_kept_whole():
    error = {"message": "No.", "type": "server_error", "param": None, "code": "expired", "inner_error": {"code": "x"}}
    assert jobs.error_summary(error) == error


def test_a_large_error_is_cut_to_what_a_row_can_hold():
    error = {"message": "ä" * 50_000, "type": "t" * 50_000, "param": "p", "code": "c", "filters": ["x" * 50_000]}
    summary = jobs.error_summary(error)
    assert len(json.dumps(summary)) < 32_768
    assert (summary["code"], summary["param"], summary["message"][:3]) == ("c", "p", "äää")
