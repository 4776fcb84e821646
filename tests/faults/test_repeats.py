"""POSTs that come twice, by `Idempotency-Key` or by a client that counts its tries: one job, one call, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from functions import images, jobs, web
from shared.errors import DarkroomError
from shared.pipeline import accept, purge, repeats
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.photographs import photograph
from tests.support.repeated import KEY, REQUEST, Door, content, error, form, is_replayed, post, post_form, read, tried
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("ask_often")


async def test_the_same_key_and_request_get_the_same_answer_of_one_call(app: App) -> None:
    first, second = [await post(images.image_generations_v1) for _ in range(2)]

    assert [is_replayed(answer) for answer in (first, second)] == [False, True]
    assert await read(first) == await read(second)
    assert first.headers["x-darkroom-job"] == second.headers["x-darkroom-job"]
    assert second.headers["x-darkroom-cost"].endswith("USD")
    assert len(app.model.calls()) == 1
    job = await app.job(first.headers["x-darkroom-job"])
    assert [row["RowKey"] for row in app.storage.rows("idempotency")] == [job.idempotency]
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == {job.id}


async def test_a_form_with_files_is_repeated_like_any_request(app: App) -> None:
    sent = form(photograph(), photograph(shade=90))
    first, second = [await post_form(images.image_edits_v1, sent) for _ in range(2)]
    other_file = await post_form(images.image_edits_v1, form(photograph(), photograph(shade=91)))
    other_order = await post_form(images.image_edits_v1, form(photograph(shade=90), photograph()))

    assert await read(first) == await read(second)
    assert is_replayed(second)
    assert error(other_file) == error(other_order) == (422, "idempotency_key_reused")
    assert len(app.model.calls()) == 1
    names = app.storage.requests_of(first.headers["x-darkroom-job"])
    assert app.storage.blobs("requests") == [f"{first.headers['x-darkroom-job']}/{name}" for name in names]


async def test_the_asynchronous_door_answers_with_the_job_and_every_poll_url_works(app: App) -> None:
    first, second = [await post(jobs.submit_job) for _ in range(2)]
    documents = [await read(answer, 202) for answer in (first, second)]

    assert [is_replayed(answer) for answer in (first, second)] == [False, True]
    assert documents[0]["id"] == documents[1]["id"]
    assert first.headers["location"] != second.headers["location"]
    job = await app.deliver(documents[0]["id"])
    third = await read(await post(jobs.submit_job), 202)
    assert (third["id"], third["status"]) == (job.id, "succeeded")
    opened = (await app.job(job.id)).token_hashes
    for location in (first.headers["location"], second.headers["location"], third["links"]["poll"]):
        assert accept.token_hash(location.partition("token=")[2]) in opened
    assert len(app.model.calls()) == 1


@pytest.mark.parametrize("doors", [(images.image_generations_v1, jobs.submit_job)])
async def test_a_key_means_the_same_job_at_every_door(app: App, doors: tuple[Door, Door]) -> None:
    first = await post(doors[0])
    second = await read(await post(doors[1]), 202)

    assert second["id"] == first.headers["x-darkroom-job"]
    assert len(app.model.calls()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "another lighthouse"},
        {"n": 2},
        {"size": "1024x1536"},
        {"metadata": {"order": "7"}},
        {"response_format": "url"},
        {"user": "somebody"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_another_request_with_the_key_is_refused_and_leaves_nothing(app: App, changes: dict[str, Any]) -> None:
    first = await post(jobs.submit_job)
    kept = app.storage.blobs("requests")
    answers = [await post(door, **changes) for door in (images.image_generations_v1, jobs.submit_job)]

    assert [error(answer) for answer in answers] == [(422, "idempotency_key_reused")] * 2
    assert app.storage.blobs("requests") == kept
    assert first.status_code == 202
    assert len(app.storage.rows("jobs")) == 2
    assert app.model.calls() == []


async def test_words_of_an_older_model_for_the_same_request_are_the_same_request(app: App) -> None:
    first = await post(jobs.submit_job, quality="high")
    second = await post(jobs.submit_job, quality="hd")

    assert (await read(first, 202))["id"] == (await read(second, 202))["id"]


async def test_a_repeat_of_a_running_request_waits_for_its_end(app: App) -> None:
    app.model.behave(latency_seconds=1.0)
    first = asyncio.create_task(post(images.image_generations_v1))
    await eventually(app.model.calls, what="the call")
    asynchronous = await read(await post(jobs.submit_job), 202)
    second, third = await asyncio.gather(*(post(images.image_generations_v1) for _ in range(2)))

    assert asynchronous["status"] == "running"
    bodies = await asyncio.gather(*(content(answer) for answer in (await first, second, third)))
    assert bodies[0] == bodies[1] == bodies[2]
    assert is_replayed(second)
    assert is_replayed(third)
    assert len(app.model.calls()) == 1


async def test_a_repeat_that_waits_too_long_is_told_where_the_job_is(app: App, configure: Callable[..., None]) -> None:
    job = await read(await post(jobs.submit_job), 202)  # nobody delivers it
    configure([deployment(app.model.url)], SYNC_BUDGET_SECONDS="1")
    answer = await post(images.image_generations_v1)

    assert error(answer) == (504, "still_running")
    assert (answer.headers["x-darkroom-job"], answer.headers["x-should-retry"]) == (job["id"], "false")
    assert is_replayed(answer)


async def test_a_repeat_whose_caller_leaves_waits_no_longer(app: App) -> None:
    await post(jobs.submit_job)
    gone = asyncio.Event()
    body = json.dumps(REQUEST).encode()
    headers = {"content-type": "application/json", **KEY}
    waiter = asyncio.create_task(call(images.image_generations_v1, body, headers=headers, gone=gone))
    await asyncio.wait({waiter}, timeout=0.3)
    assert not waiter.done()
    gone.set()
    await asyncio.wait_for(waiter, 5)


async def test_ten_requests_at_once_with_one_key_are_one_job_and_one_call(app: App) -> None:
    waiting_for_images = asyncio.gather(*(post(images.image_generations_v1) for _ in range(5)))
    submitted = await asyncio.gather(*(post(jobs.submit_job) for _ in range(5)))
    ids = {(await read(answer, 202))["id"] for answer in submitted}
    await app.deliver(next(iter(ids)))  # its message; a job that is run by its request already does not notice
    answers = await waiting_for_images

    assert ids == {answer.headers["x-darkroom-job"] for answer in answers}
    assert len(ids) == 1
    assert len({await content(answer) for answer in answers if answer.status_code == 200}) == 1
    assert [is_replayed(answer) for answer in (*answers, *submitted)].count(False) == 1
    assert len(app.model.calls()) == 1
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == ids


async def test_a_moderated_request_is_refused_again_without_a_call(app: App) -> None:
    app.model.fail({"name": "moderation_blocked"})
    first, second = [await post(images.image_generations_v1) for _ in range(2)]

    assert error(first) == error(second) == (400, "moderation_blocked")
    assert first.body == second.body
    assert second.headers["x-should-retry"] == "false"
    assert [is_replayed(answer) for answer in (first, second)] == [False, True]
    assert len(app.model.calls()) == 1


async def test_a_request_whose_outcome_is_unknown_is_not_paid_for_by_repeating_it(app: App) -> None:
    app.model.fail({"cut_before_response": True})
    answers = [await post(images.image_generations_v1) for _ in range(2)]

    assert [error(answer) for answer in answers] == [(502, "outcome_unknown")] * 2
    assert [answer.headers["x-should-retry"] for answer in answers] == ["false"] * 2
    assert len(app.model.calls()) == 1


async def test_a_failure_that_passes_and_cost_nothing_gives_the_key_back(app: App) -> None:
    app.model.fail({"status": 429, "headers": {"retry-after": "600"}})
    first = await post(images.image_generations_v1)
    app.storage.forget_pacing()
    second, third = [await post(images.image_generations_v1) for _ in range(2)]

    assert error(first) == (429, "rate_limit_exceeded")
    assert [is_replayed(answer) for answer in (first, second, third)] == [False, False, True]
    assert await read(second) == await read(third)
    assert [seen["status"] for seen in app.model.calls()] == [429, 200]
    [row] = app.storage.rows("idempotency")
    assert row["job_id"] == second.headers["x-darkroom-job"]


async def test_a_key_that_is_given_back_goes_to_one_of_many(app: App) -> None:
    app.model.fail({"status": 429, "headers": {"retry-after": "600"}})
    await post(images.image_generations_v1)
    app.storage.forget_pacing()
    answers = await asyncio.gather(*(post(images.image_generations_v1) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-darkroom-job"] for answer in answers}) == 1
    assert len(app.model.calls()) == 2


async def test_a_canceled_request_stays_canceled(app: App) -> None:
    job = await read(await post(jobs.submit_job), 202)
    await call(jobs.cancel_job, method="DELETE", path_params={"id": job["id"]})
    answer = await post(images.image_generations_v1)

    assert error(answer) == (409, "canceled")
    assert answer.headers["x-should-retry"] == "false"
    assert app.model.calls() == []


async def test_a_purged_request_is_gone_and_not_paid_for_again(app: App) -> None:
    job = await app.ended((await post(images.image_generations_v1)).headers["x-darkroom-job"])
    await purge.purge(job)
    answer = await post(images.image_generations_v1)

    assert error(answer) == (410, "purged")
    assert (answer.headers["x-darkroom-job"], answer.headers["x-should-retry"]) == (job.id, "false")
    assert len(app.model.calls()) == 1


async def test_a_repeat_needs_no_turn_of_its_own(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await post(images.image_generations_v1)

    async def busy(*_: Any) -> None:
        raise DarkroomError("rate_limit_exceeded", "later", retry_after=60)

    monkeypatch.setattr(accept, "refuse_if_busy", busy)
    assert await read(await post(images.image_generations_v1)) == await read(first)
    refused = await post(images.image_generations_v1, {"idempotency-key": "another"})
    assert error(refused) == (429, "rate_limit_exceeded")
    assert len(app.storage.rows("idempotency")) == 1, "a request that was refused binds no key"


async def test_a_key_that_is_none_is_refused_before_anything_is_kept(app: App) -> None:
    answers = [await post(door, {"idempotency-key": "a\tb"}) for door in (images.image_generations_v1, jobs.submit_job)]

    for answer in answers:
        assert error(answer) == (400, "invalid_value")
        assert json.loads(bytes(answer.body))["error"]["param"] == "Idempotency-Key"
    assert app.storage.rows("idempotency") == app.storage.rows("jobs") == []
    assert app.storage.blobs("requests") == []


async def test_a_key_is_its_callers_alone(
    app: App, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    configure([deployment(app.model.url)], WEBSITE_AUTH_ENABLED="true")
    monkeypatch.setattr(web, "GUARDED_BY_KEYS", False)
    callers = [{**KEY, "x-ms-client-principal-id": name} for name in ("alice", "bob", "alice")]
    documents = [await read(await post(jobs.submit_job, headers), 202) for headers in callers]
    other = await post(jobs.submit_job, callers[1], prompt="another")

    assert documents[0]["id"] == documents[2]["id"] != documents[1]["id"]
    assert [document["owner"] for document in documents] == ["alice", "bob", "alice"]
    assert error(other) == (422, "idempotency_key_reused")


# -- clients that send no key, and count their tries ---------------------------------------------------------------


async def test_a_clients_second_try_joins_the_job_of_its_first(app: App) -> None:
    first, second, third = [await post(images.image_generations_v1, tried(count)) for count in range(3)]

    assert await read(first) == await read(second) == await read(third)
    assert [is_replayed(answer) for answer in (first, second, third)] == [False, True, True]
    assert len(app.model.calls()) == 1
    job = await app.job(first.headers["x-darkroom-job"])
    assert [row["RowKey"] for row in app.storage.rows("idempotency")] == [job.idempotency]


async def test_two_first_tries_are_two_jobs(app: App) -> None:
    documents = [await read(await post(jobs.submit_job, tried(0)), 202) for _ in range(2)]
    again = await read(await post(jobs.submit_job, tried(1)), 202)

    assert documents[0]["id"] != documents[1]["id"] == again["id"]


async def test_a_second_try_whose_first_never_came_through_is_a_request_of_its_own(app: App) -> None:
    second = await post(images.image_generations_v1, tried(1))
    third = await post(images.image_generations_v1, tried(2))
    elsewhere = await post(images.image_generations_v1, tried(1), prompt="another")

    assert [is_replayed(answer) for answer in (second, third, elsewhere)] == [False, True, False]
    assert await read(second) == await read(third)
    assert len(app.model.calls()) == 2


async def test_a_second_try_after_a_quarter_of_an_hour_is_a_request_of_its_own(app: App) -> None:
    first = await read(await post(jobs.submit_job, tried(0)), 202)
    idempotency = (await rooms()).idempotency
    present, late = idempotency.clock, repeats.JOINED_WITHIN + timedelta(seconds=1)
    idempotency.clock = lambda: present() + late
    second, third = [await read(await post(jobs.submit_job, tried(count)), 202) for count in (1, 2)]

    assert first["id"] != second["id"] == third["id"]


@pytest.mark.parametrize("count", ["x", "-1", "", "0.5", "9" * 400])
async def test_a_count_that_is_none_is_passed_over(app: App, count: str) -> None:
    assert (await post(jobs.submit_job, tried(count))).status_code == 202
    assert app.storage.rows("idempotency") == []


async def test_a_key_counts_for_more_than_a_count(app: App) -> None:
    first = await read(await post(jobs.submit_job, tried(0)), 202)
    keyed = await read(await post(jobs.submit_job, tried(1, **KEY)), 202)
    again = await read(await post(jobs.submit_job, tried(0, **KEY)), 202)

    assert first["id"] != keyed["id"] == again["id"]
