"""A runner that dies, or whose storage fails, between any two steps: the job ends once, and what was paid for counts.

Death is an exception nothing catches, raised before or after one write; the successor comes when the lease has run out
(the job store's clock is put forward).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions import jobs
from shared.delivery.results import ResultWriter
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger
from shared.jobs.pacing import Later
from shared.pipeline import attempt, ending, read, results
from shared.pipeline.rooms import rooms
from shared.platform.blobs import BlobClient
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.doors import call
from tests.support.dying import away, die_at

Method = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize(
    ("place", "name", "when", "ledger"),
    [
        (Lease, "begin_call", "before", ["billed"]),
        (Lease, "begin_call", "after", ["billed"]),
        (Ledger, "start", "before", ["billed"]),
        (Ledger, "start", "after", ["unknown", "billed"]),
        (JobFiles, "put_result", "after", ["billed"]),
        (Ledger, "settle", "before", ["billed"]),
        (Ledger, "settle", "after", ["billed"]),
        (results, "write_sidecars", "before", ["billed"]),
        (results, "write_sidecars", "after", ["billed"]),
        (Lease, "finish", "before", ["billed"]),
        (Lease, "finish", "after", ["billed"]),
    ],
    ids=str,
)
async def test_whatever_step_a_runner_dies_at_the_job_succeeds_and_is_paid_once(
    app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, when: str, ledger: list[str]
) -> None:
    job_id = await die_at(app, monkeypatch, place, name, when)
    job = await app.deliver(job_id)

    assert job.status == "succeeded"
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(job_id) == ledger
    assert app.storage.ledger(job_id)[-1]["amount"]
    [image] = (await app.document(job_id))["images"]
    assert app.storage.read(image["blob"]).startswith(b"\x89PNG")
    assert image["blob"].rpartition("/")[2].replace(".png", ".json") in app.storage.results_of(job_id)
    accepted = await (await rooms()).files(job_id).get_request()
    encoded, _ = await read.answer(job, accepted.request)
    assert encoded.length > image["bytes"]


async def test_between_the_answer_and_its_first_record_a_death_costs_one_more_call_unless_that_is_forbidden(
    app: App, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    """The one window that nothing can close: `RETRY_UNKNOWN_OUTCOME` says what follows."""
    again = await die_at(app, monkeypatch, JobFiles, "put_result", "before")
    assert (await app.deliver(again)).status == "succeeded"
    assert app.storage.outcomes(again) == ["unknown", "billed"]

    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="never")
    never = await app.submit()
    with monkeypatch.context() as patch:
        patch.setattr(JobFiles, "put_result", away)
        patch.setattr(Ledger, "settle", away)
        patch.setattr(attempt, "_PAUSES", (0.0,))
        with pytest.raises(DarkroomError):
            await app.deliver(never)
    await app.put_clock_forward(2 * TAKE_OVER_SECONDS)
    assert (await app.deliver(never)).status == "failed"
    assert app.storage.outcomes(never) == ["unknown"]


async def test_an_answer_that_cannot_be_recorded_for_long_is_not_asked_for_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await app.submit()
    with monkeypatch.context() as patch:
        patch.setattr(JobFiles, "put_result", away)
        patch.setattr(attempt, "_PAUSES", (0.0,))
        with pytest.raises(DarkroomError):
            await app.deliver(job_id)
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)

    assert (job.status, job.error and job.error["code"]) == ("failed", "outcome_unknown")
    assert (len(app.model.calls()), app.storage.outcomes(job_id)) == (1, ["billed"])


def hiccup(times: int, method: Method) -> Method:
    """`method`, which fails `times` times before it works."""
    left = [times]

    async def fail(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise DarkroomError("storage_unavailable", "away")
        return await method(*args, **kwargs)

    return fail


@pytest.mark.parametrize(
    ("place", "name"),
    [(JobFiles, "put_result"), (attempt, "settle_billed"), (results, "write_sidecars"), (ending, "end")],
    ids=str,
)
async def test_storage_that_hiccups_after_the_answer_costs_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    job_id = await app.submit()
    monkeypatch.setattr(attempt, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(place, name, hiccup(3, getattr(place, name)))
    job = await app.deliver(job_id)

    assert (job.status, len(app.model.calls()), app.storage.outcomes(job_id)) == ("succeeded", 1, ["billed"])


async def test_an_answer_of_which_not_all_could_be_stored_fails_with_what_was(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = BlobClient.put

    async def refuse_the_second(self: BlobClient, name: str, *args: Any, **kwargs: Any) -> None:
        if name.endswith("/1.png"):
            raise DarkroomError("storage_unavailable", "away")
        await put(self, name, *args, **kwargs)

    monkeypatch.setattr(BlobClient, "put", refuse_the_second)
    job = await app.run(n=2)
    document = await app.document(job.id)

    assert job.error is not None
    assert (job.status, job.error["code"], job.error["inner_error"]["code"]) == (
        "failed",
        "outcome_unknown",
        "storage_unavailable",
    )
    assert [image["index"] for image in document["images"]] == [0]
    assert app.storage.results_of(job.id) == ["0.json", "0.png"]
    assert app.storage.outcomes(job.id) == ["billed"]


async def test_a_runner_that_lost_its_lease_changes_nothing_of_its_successors_but_tells_what_it_paid(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await app.submit()
    store = ResultWriter.finish
    successor: list[Any] = []

    async def stall(self: ResultWriter) -> Any:
        if not successor:
            successor.append(None)
            await app.put_clock_forward(TAKE_OVER_SECONDS)
            successor.append(await app.deliver(job_id))
        return await store(self)

    monkeypatch.setattr(ResultWriter, "finish", stall)
    with pytest.raises(DarkroomError, match="ended already"):
        await app.deliver(job_id)
    [image] = (await app.document(job_id))["images"]

    assert successor[1].status == "succeeded"
    assert image["blob"].endswith("/0.2.png")
    assert app.storage.outcomes(job_id) == ["billed", "billed"]


async def test_a_cancelled_runner_keeps_what_was_paid_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await app.submit()
    store = ResultWriter.finish
    begun = asyncio.Event()

    async def slow(self: ResultWriter) -> Any:
        begun.set()
        await asyncio.sleep(0.05)
        return await store(self)

    monkeypatch.setattr(ResultWriter, "finish", slow)
    runner = asyncio.create_task(app.deliver(job_id))
    await begun.wait()
    runner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runner

    assert (await app.job(job_id)).status == "succeeded"
    assert app.storage.outcomes(job_id) == ["billed"]


async def test_a_call_that_was_told_to_wait_is_no_unknown_outcome_when_its_runner_dies(
    app: App, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., None]
) -> None:
    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="never")
    app.model.fail({"status": 429, "headers": {"retry-after-ms": "10"}})
    job_id = await die_at(app, monkeypatch, Lease, "uncount_call", "before")
    job = await app.deliver(job_id)

    assert (job.status, job.attempts) == ("succeeded", 1)
    assert app.storage.outcomes(job_id) == ["refused", "billed"]
    assert (await app.document(job_id))["cost"]["possibly_billed"] == "0"


async def test_a_second_message_for_a_job_that_waits_goes_away(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await app.submit()
    room = await rooms()
    far = datetime.now(UTC) + timedelta(minutes=5)
    sent = []

    async def no_slot(*_: Any, **__: Any) -> Later:
        return Later(far, "gpt-image-1")

    async def send(*arguments: Any, **_: Any) -> None:
        sent.append(arguments)

    monkeypatch.setattr(room.pacer, "reserve", no_slot)
    monkeypatch.setattr(room.queue, "submit", send)
    for _ in range(4):
        assert (await app.deliver(job_id)).status == "queued"

    assert len(sent) == 1


async def test_a_synchronous_job_whose_runner_died_before_its_call_is_not_run_for_a_caller_who_has_gone(
    app: App,
) -> None:
    job = await app.begin()
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job.id)

    assert (job.status, job.error and job.error["code"]) == ("failed", "abandoned")
    assert app.model.calls() == []


async def test_a_job_whose_request_is_lost_after_its_call_ends_and_is_still_announced(app: App) -> None:
    app.model.fail({"hang_seconds": 60})
    job_id = await app.submit()
    async with app.killed_during_a_call(job_id, "deliver"):
        app.storage.delete(f"requests/{job_id}/request.json")
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    job = await app.deliver(job_id)
    document = await app.document(job_id)

    assert (job.status, document["request"], document["error"]["code"]) == ("failed", {}, "internal_error")


async def test_a_request_of_a_newer_version_ends_its_job_instead_of_coming_back_for_ever(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await app.submit()
    get = JobFiles._get_json

    async def newer(self: JobFiles, name: str) -> Any:
        data = await get(self, name)
        if name == "request.json" and data is not None:
            data["request"]["seed"] = 1
        return data

    monkeypatch.setattr(JobFiles, "_get_json", newer)

    assert (await app.deliver(job_id)).status == "failed"


async def test_a_submit_is_answered_202_though_storage_fails_once_the_job_is_accepted(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobFiles, "get_request", away)
    body = b'{"prompt": "a lighthouse", "quality": "low"}'
    answer = await call(jobs.submit_job, body, headers={"content-type": "application/json"})

    assert answer.status_code == 202


async def test_without_a_topic_the_end_stays_in_the_outbox(app: App, configure: Callable[..., None]) -> None:
    configure([deployment(app.model.url)], EVENTS__topicEndpointUri="ht!tp:/nowhere")
    job = await app.run()

    assert job.status == "succeeded"
    assert [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("o:")]


@pytest.mark.parametrize(
    "body",
    [{"error": "overloaded"}, {"error": ["x"], "data": []}, {"data": [], "error": True}],
    ids=["text", "list", "true"],
)
async def test_a_200_that_holds_an_error_of_any_kind_is_no_success(app: App, body: dict[str, Any]) -> None:
    app.model.fail({"status": 200, "body": body})
    job = await app.run()

    assert job.error is not None
    assert (job.status, job.error["code"], job.error["inner_error"]["code"]) == (
        "failed",
        "outcome_unknown",
        "response_without_images",
    )
