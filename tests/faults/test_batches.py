"""A batch becomes jobs, each request one, whatever dies or comes twice, and ends with one event."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from local.certificates import Certificates
from shared.errors import DarkroomError
from shared.jobs.batch_lease import BatchLease
from shared.jobs.batches import BatchQueue, BatchStore
from shared.jobs.files import JobFiles
from shared.jobs.queue import JobQueue
from shared.pipeline import accept, announce, fan_out
from shared.pipeline import batches as pipeline
from shared.pipeline.repeats import NOTHING
from shared.platform.principals import Caller
from tests.support import batches
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.batches import REQUEST, UNREADABLE
from tests.support.dying import DiedError
from tests.support.receiver import STACK_SIGNING_KEY, receiving
from tests.support.waiting import eventually

MIXED = [UNREADABLE, REQUEST, REQUEST, REQUEST, UNREADABLE]
"""Two steps of `small_steps`, in each a request that turns out to be wrong."""


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few requests take several steps."""
    monkeypatch.setattr(fan_out, "MOST_AT_ONCE", 3)


async def deliver(batch: dict[str, Any]) -> None:
    """What the queue door does with the batch's message."""
    await fan_out.deliver(json.dumps({"batch_id": batch["id"]}).encode())


async def test_each_request_becomes_one_job_in_its_place(app: App) -> None:
    batch = await batches.post(batches.requests(100))
    await deliver(batch)
    jobs = batches.jobs_of(app, batch["id"])
    documents = await asyncio.gather(*map(app.document, jobs))
    sent = await batches.messages()

    assert [document["metadata"]["place"] for document in documents] == [str(place) for place in range(100)]
    assert {(document["batch"], document["status"]) for document in documents} == {(batch["id"], "queued")}
    assert sorted(message["job_id"] for message in sent) == sorted(jobs)
    assert (await batches.get(batch["id"]))["counts"]["pending"] == 100
    assert (batches.rows_of(app, "n"), app.storage.requests_of(batch["id"])) == ([], [])


async def test_the_last_of_its_jobs_completes_a_batch(app: App) -> None:
    batch = await batches.post({"requests": [REQUEST, REQUEST, UNREADABLE], "metadata": {"order": "1017"}})
    await deliver(batch)
    first, second, wrong = batches.jobs_of(app, batch["id"])
    await app.deliver(first)
    before = await batches.get(batch["id"])
    assert batches.told(app) == []
    await app.deliver(second)
    after = await batches.get(batch["id"])

    assert before["counts"] == {"total": 3, "pending": 1, "succeeded": 1, "failed": 1, "canceled": 0}
    assert (before["status"], before["finished_at"]) == ("running", None)
    assert after["counts"] == {"total": 3, "pending": 0, "succeeded": 2, "failed": 1, "canceled": 0}
    assert (after["status"], after["finished_at"] is None) == ("completed", False)
    assert after["metadata"] == {"order": "1017"}
    assert batches.told(app) == [batch["id"]]
    assert sorted(batches.told(app, "event")) == sorted([first, second, wrong])


async def test_a_request_whose_source_cannot_be_read_is_a_failed_job_that_says_why(app: App) -> None:
    batch = await batches.post([UNREADABLE])
    await deliver(batch)
    [job_id] = batches.jobs_of(app, batch["id"])
    document = await app.document(job_id)

    assert (document["status"], document["error"]["code"]) == ("failed", "source_not_readable")
    assert document["request"]["images"] == [{"blob": "closed/a.png"}]
    assert (await batches.get(batch["id"]))["status"] == "completed"
    assert (await batches.messages(), batches.rows_of(app, "l")) == ([], [])


async def test_a_source_in_the_batch_is_the_jobs_and_not_kept_where_it_is_no_image(app: App) -> None:
    picture = {"prompt": "more", "images": [{"data": batches.PNG}]}
    broken = {"prompt": "more", "images": [{"data": "bm8gaW1hZ2U="}]}
    batch = await batches.post([picture, broken])
    await deliver(batch)
    good, bad = batches.jobs_of(app, batch["id"])

    assert sorted(app.storage.requests_of(good)) == ["request.json", "source-0"]
    assert (await app.deliver(good)).status == "succeeded"
    assert app.storage.requests_of(bad) == ["request.json"]
    assert (await app.document(bad))["error"]["code"] == "invalid_image"
    assert "bm8gaW1hZ2U" not in app.storage.read(f"requests/{bad}/request.json").decode()


WRITES: list[tuple[Any, str]] = [
    (BatchStore, "claim"),
    (JobFiles, "put_request"),
    (BatchStore, "make"),
    (JobQueue, "submit"),
    (announce, "first_tries"),
    (JobFiles, "discard"),
    (BatchStore, "done"),
    (BatchStore, "release"),
]
"""Everything a fan-out can leave behind."""


def mortal(patch: pytest.MonkeyPatch, dies: Callable[[Any, str, str], bool]) -> list[str]:
    """Let this process die where `dies(owner, name, when)` says so; from there on it writes nothing. Where it died."""
    dead: list[str] = []

    def wrapped(owner: Any, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(owner, name)

        async def unless_dead(*args: Any, **kwargs: Any) -> Any:
            answer = None
            for when in ("before", "after"):
                if dead or dies(owner, name, when):
                    dead.append(f"{when} {name}")
                    raise DiedError
                if when == "before":
                    answer = await method(*args, **kwargs)
            return answer

        return unless_dead

    for owner, name in WRITES:
        patch.setattr(owner, name, wrapped(owner, name))
    return dead


async def assert_each_is_one_job(app: App, batch: dict[str, Any]) -> None:
    """After the fan-out of `MIXED`."""
    jobs = batches.jobs_of(app, batch["id"])
    assert len(jobs) == len(set(jobs)) == len(batches.rows_of(app, "j")) == len(MIXED)
    counts = {"total": 5, "pending": 3, "succeeded": 0, "failed": 2, "canceled": 0}
    assert (await batches.get(batch["id"]))["counts"] == counts
    assert batches.rows_of(app, "n") == []
    assert {name.partition("/")[0] for name in app.storage.blobs("requests")} == set(jobs), "no blob without a job"


async def assert_the_batch_ends_once(app: App, batch: dict[str, Any]) -> None:
    """When the jobs of `MIXED` are run."""
    for job_id in batches.jobs_of(app, batch["id"]):
        await app.deliver(job_id)
    counts = {"total": 5, "pending": 0, "succeeded": 3, "failed": 2, "canceled": 0}
    assert (await batches.get(batch["id"]))["counts"] == counts
    assert len(app.model.calls()) == 3
    assert batches.told(app) == [batch["id"]]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("place", "name"), [(place, name) for place, name in WRITES if name not in ("first_tries", "release")], ids=str
)
async def test_whatever_step_a_fan_out_dies_at_each_request_is_one_job(
    app: App, monkeypatch: pytest.MonkeyPatch, small_steps: None, place: Any, name: str, when: str
) -> None:
    batch = await batches.post(MIXED)
    with monkeypatch.context() as patch:
        mortal(patch, lambda owner, called, moment: (owner, called, moment) == (place, name, when))
        with pytest.raises(DiedError):
            await deliver(batch)
    await batches.put_clock_forward(TAKE_OVER_SECONDS)
    await deliver(batch)

    await assert_each_is_one_job(app, batch)


@pytest.mark.parametrize("seed", range(3))
async def test_a_fan_out_that_dies_again_and_again_still_ends(
    app: App, monkeypatch: pytest.MonkeyPatch, small_steps: None, seed: int
) -> None:
    chance = random.Random(seed)
    batch = await batches.post(MIXED)
    deaths: list[str] = []
    while batches.rows_of(app, "n"):
        with monkeypatch.context() as patch:
            dead = mortal(patch, lambda *_: chance.random() < 0.06)
            try:
                await deliver(batch)
            except DiedError:
                deaths += dead[:1]
        await batches.put_clock_forward((len(deaths) + 1) * TAKE_OVER_SECONDS)

    assert deaths, "the seed is one that kills"
    await assert_each_is_one_job(app, batch)
    await assert_the_batch_ends_once(app, batch)


async def test_messages_that_come_at_the_same_time_make_each_job_once(app: App, small_steps: None) -> None:
    batch = await batches.post(MIXED)
    await asyncio.gather(*(deliver(batch) for _ in range(4)))
    await deliver(batch)

    await assert_each_is_one_job(app, batch)
    await assert_the_batch_ends_once(app, batch)


@pytest.mark.parametrize(("owner", "name"), [(JobFiles, "put_request"), (BatchStore, "make"), (BatchStore, "claim")])
async def test_storage_that_fails_for_a_while_lets_the_message_come_back(
    app: App, monkeypatch: pytest.MonkeyPatch, small_steps: None, owner: Any, name: str
) -> None:
    batch = await batches.post(MIXED)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, unavailable)
        with pytest.raises(DarkroomError):
            await deliver(batch)
    await deliver(batch)

    await assert_each_is_one_job(app, batch)


async def test_jobs_whose_messages_were_not_taken_are_left_to_the_timer(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await batches.post([REQUEST, REQUEST])
    monkeypatch.setattr(JobQueue, "submit", unavailable)
    await deliver(batch)

    assert len(batches.rows_of(app, "l")) == 2
    assert batches.rows_of(app, "n") == []


async def test_a_batch_whose_message_was_not_taken_is_found_by_the_timer(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(BatchQueue, "submit", unavailable)
        batch = await batches.post([REQUEST])
    assert await pipeline.abandoned() == 0
    await batches.put_clock_forward(121)

    assert await pipeline.abandoned() == 1
    assert await batches.messages("image-batches") == [{"batch_id": batch["id"]}]


async def test_a_run_that_has_no_time_left_sends_the_batch_to_another(app: App, small_steps: None) -> None:
    batch = await batches.post(MIXED)
    await batches.messages("image-batches")
    await fan_out.work_at(batch["id"], budget=timedelta())
    assert (batches.jobs_of(app, batch["id"]), len(batches.rows_of(app, "n"))) == ([], 1)
    [message] = await batches.messages("image-batches")
    await fan_out.deliver(json.dumps(message).encode())

    await assert_each_is_one_job(app, batch)


async def test_a_poisoned_message_comes_back_later(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, float]] = []

    async def submit(self: BatchQueue, batch_id: str, delay: float = 0.0) -> None:
        sent.append((batch_id, delay))

    batch = await batches.post([REQUEST])
    monkeypatch.setattr(BatchQueue, "submit", submit)
    await fan_out.rest(json.dumps({"batch_id": batch["id"]}).encode())
    await fan_out.rest(b"no message of ours")

    assert sent == [(batch["id"], 300.0)]


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"batch_id": 7}', b'{"batch_id": "../../etc"}'])
async def test_a_message_that_names_no_batch_is_passed_over(app: App, body: bytes) -> None:
    await fan_out.deliver(body)

    assert app.storage.rows("jobs") == []


async def test_requests_that_were_lost_are_failed_jobs_and_the_others_run(app: App, small_steps: None) -> None:
    batch = await batches.post([REQUEST] * 4)
    stored = app.storage.read(f"requests/{batch['id']}/batch.jsonl")
    cut = stored.splitlines()[0] + b"\n{"

    async def pieces() -> Any:
        yield cut

    await (await batches.files(batch["id"])).put_source("batch.jsonl", pieces())
    await deliver(batch)
    jobs = [await app.job(job_id) for job_id in batches.jobs_of(app, batch["id"])]

    assert [job.status for job in jobs] == ["queued", "failed", "failed", "failed"]
    assert {job.error["code"] for job in jobs if job.error} == {"internal_error"}


async def test_a_batch_whose_requests_are_gone_still_ends(app: App) -> None:
    batch = await batches.post([REQUEST] * 2)
    app.storage.delete(f"requests/{batch['id']}/batch.jsonl")
    await deliver(batch)

    assert (await batches.get(batch["id"]))["counts"]["failed"] == 2
    assert batches.told(app) == [batch["id"]]


async def test_a_fault_of_darkrooms_fails_one_job_and_not_the_batch(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    understand = accept.understand

    async def faulty(intake: Any, caller: Any, data: Any, **kind: Any) -> Any:
        if data["prompt"] == "boom":
            raise ZeroDivisionError
        return await understand(intake, caller, data, **kind)

    monkeypatch.setattr(accept, "understand", faulty)
    batch = await batches.post([{"prompt": "boom"}, REQUEST])
    await deliver(batch)
    jobs = [await app.job(job_id) for job_id in batches.jobs_of(app, batch["id"])]

    assert [(job.status, job.error and job.error["code"]) for job in jobs] == [
        ("failed", "internal_error"),
        ("queued", None),
    ]


async def unavailable(*_: Any, **__: Any) -> None:
    raise DarkroomError("storage_unavailable", "Storage does not answer.")


async def test_a_job_that_was_refused_is_called_back_like_one_that_ran(
    app: App, certificates: Certificates, configure: Callable[..., None]
) -> None:
    settings = {"CALLBACK_HOSTS": "127.0.0.1", "CALLBACK_SIGNING_KEY": STACK_SIGNING_KEY, "ALLOW_PRIVATE_NETWORKS": "1"}
    configure([deployment(app.model.url)], **settings)
    async with receiving(certificates) as receiver:
        hook = {"callback_url": f"{receiver.url}/hook?secret=1"}
        batch = await batches.post([{**UNREADABLE, **hook}, {**REQUEST, **hook}])
        await deliver(batch)
        wrong, good = batches.jobs_of(app, batch["id"])
        await app.deliver(good)
        await eventually(lambda: len(receiver.requests) == 2, what="two callbacks")

    told = {json.loads(heard.body)["data"]["id"]: json.loads(heard.body)["type"] for heard in receiver.requests}
    assert told == {wrong: "Darkroom.Job.Failed", good: "Darkroom.Job.Succeeded"}


async def test_a_batch_reads_what_its_caller_may_read_and_no_more(app: App) -> None:
    """The jobs are made when the caller has gone: whose they are decides, and what that one could see."""
    image = (await app.document((await app.run()).id))["images"][0]["blob"]
    body = pipeline.Body([{"prompt": "more", "images": [{"blob": image}]}])
    ends = {}
    for caller in (Caller("alice", sees_all=False), Caller("admin", sees_all=True)):
        batch = (await pipeline.submit(await pipeline.check(body), caller, NOTHING)).batch
        await fan_out.work_at(batch.id)
        job = await app.job(*batches.jobs_of(app, batch.id))
        ends[job.owner] = job.status

    assert ends == {"alice": "failed", "admin": "queued"}


async def test_a_runner_that_lost_the_batch_leaves_the_files_of_its_successors_jobs_alone(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await batches.post([{**REQUEST, "images": [{"data": batches.PNG}]}])
    understand, understood, thawed = accept.understand, asyncio.Event(), asyncio.Event()
    leases: list[BatchLease] = []

    class KnownLease(BatchLease):
        async def __aenter__(self) -> KnownLease:
            leases.append(self)
            return await super().__aenter__()

    async def freeze(*given: Any, **named: Any) -> Any:
        await understand(*given, **named)
        understood.set()
        await thawed.wait()
        raise DarkroomError("source_not_readable", "It has gone.", param="image")

    with monkeypatch.context() as patch:
        patch.setattr(accept, "understand", freeze)
        patch.setattr(fan_out, "BatchLease", KnownLease)
        frozen = asyncio.create_task(fan_out.work_at(batch["id"]))
        await understood.wait()
    await batches.put_clock_forward(TAKE_OVER_SECONDS)
    await deliver(batch)
    [job] = batches.jobs_of(app, batch["id"])
    leases[0]._safe_until = 0.0  # as long as it stood still
    thawed.set()
    await asyncio.gather(frozen, return_exceptions=True)

    assert app.storage.requests_of(job) == ["request.json", "source-0"]
    assert (await app.deliver(job)).status == "succeeded"
