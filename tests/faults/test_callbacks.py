"""Callbacks: whoever asked to be called back learns of each end once, and nobody else is ever asked."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import json
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from functions import jobs
from local.certificates import Certificates
from shared.delivery import callbacks
from shared.errors import DarkroomError
from shared.jobs.outbox import UndeliverableError
from shared.pipeline import callbacks as pipeline_callbacks
from shared.pipeline import messages
from shared.pipeline.rooms import rooms
from shared.platform import outbound, tracing
from tests.support.announcing import first_tries, next_round
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.receiver import Receiver, answer
from tests.support.waiting import eventually

KEY = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
OLD = f"whsec_{base64.b64encode(b'o' * 32).decode()}"
SETTINGS = {"CALLBACK_HOSTS": "127.0.0.1", "CALLBACK_SIGNING_KEY": f"{KEY},{OLD}", "ALLOW_PRIVATE_NETWORKS": "1"}
Configure = Callable[..., None]


@pytest.fixture
def hooked(app: App, configure: Configure) -> App:
    """The app, configured to call back."""
    configure([deployment(app.model.url)], **SETTINGS)
    return app


def waiting(app: App) -> list[dict[str, Any]]:
    """The callbacks in the outbox."""
    rows = app.storage.rows("jobs")
    return [row for row in rows if row["RowKey"].startswith("o:") and row["RowKey"].endswith(":callback")]


def taken(receiver: Receiver, key: str = KEY) -> list[dict[str, Any]]:
    """What the receiver got, each checked with its key for this host."""
    checker = Webhook(callbacks.host_key(key, "127.0.0.1"))
    return [checker.verify(heard.body, heard.headers) for heard in receiver.requests]


async def test_a_callback_hands_on_the_trace_of_its_jobs_request(hooked: App, receiver: Receiver) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with tracing.span("submit_job", parent=traceparent):
        traced = await hooked.submit(callback_url=receiver.url)
    await hooked.deliver(traced)
    await hooked.run(callback_url=receiver.url)
    await first_tries()

    heard = {heard.headers["webhook-id"].split("/")[0]: heard.headers.get("traceparent") for heard in receiver.requests}
    assert heard.pop(traced) == traceparent
    assert list(heard.values()) == [None]


async def test_a_finished_job_is_posted_signed_by_each_key_with_links_that_work(
    hooked: App, receiver: Receiver, certificates: Certificates
) -> None:
    job = await hooked.run(callback_url=f"{receiver.url}/done?sig=s3cret", metadata={"order": "7"}, prompt="a secret")
    await first_tries()

    assert taken(receiver) == taken(receiver, OLD)
    (message,) = taken(receiver)
    (heard,) = receiver.requests
    assert (heard.method, heard.target) == ("POST", "/done?sig=s3cret")
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == f"{job.id}/succeeded"
    assert message["type"] == "Darkroom.Job.Succeeded"
    document = await hooked.document(job.id)
    assert message["timestamp"] == document["finished_at"]
    (image,) = message["data"]["images"]
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=certificates.ca), trust_env=False) as anybody:
        content = (await anybody.get(image["url"])).content
    assert hashlib.sha256(content).hexdigest() == image["sha256"]
    assert message["data"]["request"]["callback_url"] == f"{receiver.url}/done?…"
    assert message["data"]["metadata"] == {"order": "7"}
    assert "secret" not in heard.body.decode().replace("/done?sig=s3cret", "")
    assert unsigned(message["data"]) == unsigned({**document, "request": without_prompt(document["request"])})
    assert waiting(hooked) == []


def unsigned(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "images": [{**image, "url": image["url"].split("?")[0]} for image in document["images"]]}


def without_prompt(request: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "prompt"}


async def test_prompts_are_told_where_events_tell_them(app: App, configure: Configure, receiver: Receiver) -> None:
    configure([deployment(app.model.url)], **SETTINGS, EVENT_PROMPTS="1")
    await app.run(callback_url=receiver.url, prompt="a tangerine lamp")
    await first_tries()

    assert taken(receiver)[0]["data"]["request"]["prompt"] == "a tangerine lamp"


async def test_a_job_that_fails_is_told_with_its_reason(hooked: App, receiver: Receiver) -> None:
    job = await hooked.run(callback_url=receiver.url, prompt="a lamp [[moderation_blocked]]")
    await first_tries()

    (message,) = taken(receiver)
    assert (message["type"], message["data"]["status"]) == ("Darkroom.Job.Failed", "failed")
    assert message["data"]["error"]["code"] == "moderation_blocked"
    assert receiver.requests[0].headers["webhook-id"] == f"{job.id}/failed"
    assert "lamp" not in receiver.requests[0].body.decode()


async def test_a_canceled_job_is_told_too(hooked: App, receiver: Receiver) -> None:
    job_id = await hooked.submit(callback_url=receiver.url)
    await call(jobs.cancel_job, method="DELETE", path_params={"id": job_id})
    await first_tries()

    assert [message["type"] for message in taken(receiver)] == ["Darkroom.Job.Canceled"]
    assert hooked.model.calls() == []


async def test_a_synchronous_job_is_told_too(hooked: App, receiver: Receiver) -> None:
    job = await hooked.run_now(callback_url=receiver.url)
    await first_tries()

    assert [message["data"]["id"] for message in taken(receiver)] == [job.id]


async def test_a_job_that_came_by_the_queue_is_told_too(hooked: App, receiver: Receiver) -> None:
    message = {"prompt": "a boat", "quality": "low", "callback_url": receiver.url}
    job = await hooked.deliver(await messages.job_of(json.dumps(message).encode(), "a message"))
    await first_tries()

    assert [(message["data"]["id"], message["data"]["owner"]) for message in taken(receiver)] == [(job.id, "queue")]


async def test_a_message_that_was_refused_calls_nobody(hooked: App, receiver: Receiver) -> None:
    body = json.dumps({"prompt": "a lighthouse", "n": "many", "callback_url": receiver.url}).encode()
    job = await hooked.job(await messages.job_of(body, "m1"))
    await first_tries()

    assert (job.status, job.error and job.error["param"]) == ("failed", "n")
    assert (waiting(hooked), receiver.requests) == ([], [])


@pytest.mark.parametrize("status", [301, 404, 500])
async def test_what_was_not_taken_comes_again_under_the_same_id_until_it_is(
    hooked: App, receiver: Receiver, status: int
) -> None:
    receiver.answers = [answer(status, b"", location=f"{receiver.url}/elsewhere")] * 2
    job = await hooked.run(callback_url=f"{receiver.url}/hook")
    await first_tries()
    assert len(waiting(hooked)) == 1
    await next_round()
    assert len(waiting(hooked)) == 1
    await next_round()
    await next_round()

    assert waiting(hooked) == []
    assert [(heard.target, heard.headers["webhook-id"]) for heard in receiver.requests] == [
        ("/hook", f"{job.id}/succeeded")
    ] * 3
    assert len({message["data"]["id"] for message in taken(receiver)}) == 1


async def test_a_receiver_that_says_it_is_gone_is_not_asked_again(hooked: App, receiver: Receiver) -> None:
    receiver.answers = [answer(410)]
    await hooked.run(callback_url=receiver.url)
    await first_tries()
    await next_round()

    assert waiting(hooked) == []
    assert len(receiver.requests) == 1


async def test_what_nobody_took_for_a_day_is_given_up(hooked: App, receiver: Receiver) -> None:
    receiver.answers = [answer(500), answer(500), answer(200)]
    job = await hooked.run(callback_url=receiver.url)
    await first_tries()
    old = dataclasses.replace(job, finished_at=datetime.now(UTC) - timedelta(hours=25))

    with pytest.raises(UndeliverableError, match="status 500, and the job's end is a day old"):
        await pipeline_callbacks.call_back(await rooms(), old)
    await pipeline_callbacks.call_back(await rooms(), old)  # taken late is taken
    assert len(receiver.requests) == 3


async def test_no_log_line_of_a_callback_holds_its_query_or_a_prompt(
    hooked: App, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [answer(500, b"s3cret"), b"s3cret\r\n\r\n", answer(410)]
    await hooked.run(callback_url=f"{receiver.url}/?sig=s3cret", prompt="a tangerine lamp")
    await first_tries()
    await next_round()
    await next_round()

    said = [record.getMessage() for record in caplog.records if record.name == "darkroom"]
    assert any("is answered with status 500" in line for line in said)
    assert any("is not answered in whole" in line for line in said)
    assert any("given up" in line and "410" in line for line in said)
    assert not any(word in caplog.text for word in ("s3cret", "tangerine", "whsec_"))


async def test_a_purged_job_tells_nobody(hooked: App, receiver: Receiver) -> None:
    job = await hooked.run(callback_url=receiver.url)
    await first_tries()
    purged = dataclasses.replace(job, purged_at=datetime.now(UTC))

    with pytest.raises(UndeliverableError, match="purged"):
        await pipeline_callbacks.call_back(await rooms(), purged)
    hooked.storage.delete(f"requests/{job.id}/request.json")
    with pytest.raises(UndeliverableError, match="no longer there"):
        await pipeline_callbacks.call_back(await rooms(), job)
    assert len(receiver.requests) == 1


async def test_a_receiver_that_is_slow_holds_up_neither_the_job_nor_the_next(hooked: App, receiver: Receiver) -> None:
    answered = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.write(answer(200))

    receiver.answers = [slow]
    first = await hooked.run(callback_url=f"{receiver.url}/slow")
    await eventually(lambda: receiver.requests, what="the first callback")
    second = await hooked.run(callback_url=f"{receiver.url}/quick")
    await eventually(lambda: len(receiver.requests) == 2 and len(waiting(hooked)) == 1, what="the second callback")

    assert (first.status, second.status) == ("succeeded", "succeeded")
    answered.set()
    await first_tries()
    assert waiting(hooked) == []


async def test_a_host_that_leads_to_a_private_address_when_it_is_called_is_not_called(
    app: App, configure: Configure, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rebound(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(outbound, "look_up", rebound)
    configure(
        [deployment(app.model.url)], **{**SETTINGS, "CALLBACK_HOSTS": "example.com", "ALLOW_PRIVATE_NETWORKS": ""}
    )
    job = await app.run(callback_url="https://hooks.example.com/")
    await first_tries()

    assert job.status == "succeeded"
    assert receiver.connections == 0
    assert len(waiting(app)) == 1


REFUSED = [
    ({"CALLBACK_SIGNING_KEY": ""}, "https://127.0.0.1/", "unsupported_parameter", "CALLBACK_SIGNING_KEY"),
    ({"CALLBACK_HOSTS": ""}, "https://127.0.0.1/", "invalid_value", "CALLBACK_HOSTS"),
    ({}, "https://evil.net/", "invalid_value", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "example.com"}, "https://example.com.evil.net/", "invalid_value", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "example.com"}, "https://evil-example.com/", "invalid_value", "CALLBACK_HOSTS"),
    ({"ALLOW_PRIVATE_NETWORKS": ""}, "https://127.0.0.1/", "invalid_value", "not public"),
    ({"ALLOW_PRIVATE_NETWORKS": ""}, "https://127.0.0.1:8443/", "invalid_value", "port"),
    ({}, "https://169.254.169.254/", "invalid_value", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "169.254.169.254"}, "https://169.254.169.254/", "invalid_value", "not public"),
    ({}, "http://127.0.0.1/", "invalid_value", "https"),
    ({}, "https://user@127.0.0.1/", "invalid_value", "user"),
]


async def test_a_callback_that_will_not_be_made_is_refused_before_there_is_a_job(
    app: App, configure: Configure
) -> None:
    for changes, url, code, said in REFUSED:
        configure([deployment(app.model.url)], **{**SETTINGS, **changes})
        body = json.dumps({"prompt": "a lighthouse", "callback_url": f"{url}?sig=s3cret"}).encode()
        response = await call(jobs.submit_job, body, headers={"content-type": "application/json"})
        error = json.loads(bytes(response.body))["error"]

        assert (response.status_code, error["code"], error["param"]) == (400, code, "callback_url"), url
        assert said in error["message"], url
        assert "s3cret" not in error["message"], url
    assert app.storage.rows("jobs") == []
    assert app.storage.blobs("requests") == []


async def test_a_key_that_was_taken_away_since_sends_nothing_unsigned(
    hooked: App, configure: Configure, receiver: Receiver
) -> None:
    job_id = await hooked.submit(callback_url=receiver.url)
    configure([deployment(hooked.model.url)], **{**SETTINGS, "CALLBACK_SIGNING_KEY": ""})
    job = await hooked.deliver(job_id)
    await first_tries()

    assert receiver.requests == []
    with pytest.raises(DarkroomError, match="CALLBACK_SIGNING_KEY"):
        await pipeline_callbacks.call_back(await rooms(), job)
    configure([deployment(hooked.model.url)], **SETTINGS)
    await next_round()
    assert [message["data"]["id"] for message in taken(receiver)] == [job_id]
