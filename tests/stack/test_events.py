"""The end of a job is announced once, in a valid CloudEvent that tells no secret."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from local.state import StackInfo
from tests.support.peers import disturb_topic, events, publishes, table
from tests.support.requests import generate, generated, job, run
from tests.support.waiting import eventually

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "cloudevents-1.0.schema.json").read_text())
SECRET_PROMPT = "the unannounced product is a tangerine lamp"
TOLD_FIRST = {"response_format": "url"}
"""What makes a synchronous answer come when the topic has been tried: one that holds images passes on before."""


def assert_valid(event: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(event)
    assert datetime.fromisoformat(event["time"]).tzinfo is not None


async def test_success_is_one_valid_event_that_holds_the_job(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    document = await generated(app_client, n=2, metadata={"order": "7"})

    (event,) = await eventually(lambda: events(stack, document["id"]), what="the event")
    assert_valid(event)
    assert event["id"] == f"{document['id']}/succeeded"
    assert event["type"] == "Darkroom.Job.Succeeded"
    assert event["source"] == "/darkroom/darkroom"
    assert event["time"].startswith(document["finished_at"].removesuffix("Z"))
    expected = dict(document)
    expected["request"] = {name: value for name, value in document["request"].items() if name != "prompt"}
    expected["images"] = [{**image, "url": image["url"].partition("?")[0]} for image in document["images"]]
    assert event["data"] == expected


async def test_the_end_of_a_queued_job_is_announced_once_too(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    document = await run(app_client)

    def announced() -> list[dict[str, Any]]:
        return events(stack, document["id"])

    (event,) = await eventually(announced, what="the event")
    assert_valid(event)
    assert event["id"] == f"{document['id']}/succeeded"
    await eventually(lambda: not outbox(stack, document["id"]), what="an empty outbox")
    assert [entry["events"] for entry in publishes(stack)].count([event["id"]]) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_refused_job_is_announced_as_failed_with_the_services_reason(
    app_client: httpx.AsyncClient, stack: StackInfo, asynchronous: bool
) -> None:
    prompt = f"{SECRET_PROMPT} [[moderation_blocked]]"
    if asynchronous:
        job_id = (await run(app_client, prompt=prompt))["id"]
    else:
        answer = await generate(app_client, prompt=prompt)
        assert answer.status_code == 400
        job_id = answer.headers["x-darkroom-job"]

    (event,) = await eventually(lambda: events(stack, job_id), what="the event")
    assert_valid(event)
    assert (event["id"], event["type"]) == (f"{job_id}/failed", "Darkroom.Job.Failed")
    document = await job(app_client, job_id)
    assert event["data"]["error"] == document["error"]
    assert event["data"]["error"]["code"] == "moderation_blocked"
    assert "tangerine" not in json.dumps(event)


async def test_neither_prompt_nor_signature_nor_token_is_in_an_event(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    document = await run(app_client, prompt=SECRET_PROMPT)

    (event,) = await eventually(lambda: events(stack, document["id"]), what="the event")
    text = json.dumps(event)
    assert "tangerine" not in text
    assert not re.search(r"sig=|token=|skoid=|[?]", text)
    assert event["data"]["images"][0]["url"] == f"{stack.blob}/{document['images'][0]['blob']}"


async def test_what_a_broken_topic_did_not_take_is_delivered_later_and_once(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    disturb_topic(stack, count=1000, status=503)

    document = await generated(app_client, **TOLD_FIRST)

    assert document["status"] == "succeeded"
    assert events(stack, document["id"]) == []
    assert len(outbox(stack, document["id"])) == 1
    disturb_topic(stack, count=1)  # one fault without a status: well again
    make_due(stack, document["id"])
    await send_outbox(app_client)
    await eventually(lambda: not outbox(stack, document["id"]), what="an empty outbox")
    await send_outbox(app_client)
    assert [event["id"] for event in events(stack, document["id"])] == [f"{document['id']}/succeeded"]


async def test_an_event_whose_receipt_was_lost_comes_again_under_the_same_id(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    disturb_topic(stack, count=1, status=503, keep=True)

    document = await generated(app_client, **TOLD_FIRST)
    make_due(stack, document["id"])
    await send_outbox(app_client)
    await eventually(lambda: not outbox(stack, document["id"]), what="an empty outbox")

    assert [event["id"] for event in events(stack, document["id"])] == [f"{document['id']}/succeeded"] * 2


async def test_a_topic_that_hangs_does_not_hold_up_the_answer(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    disturb_topic(stack, count=1, delay_seconds=300)

    answer = await generate(app_client)  # the client's own patience is a fifth of the topic's delay

    assert answer.status_code == 200
    await job(app_client, answer.headers["x-darkroom-job"])
    assert len(outbox(stack, answer.headers["x-darkroom-job"])) == 1


def outbox(stack: StackInfo, job_id: str) -> list[dict[str, Any]]:
    """The outbox entries of a job."""
    with table(stack, "jobs") as jobs:
        query = "PartitionKey eq 'jobs' and RowKey ge 'o:' and RowKey lt 'o;' and job_id eq @job"
        return [dict(row) for row in jobs.query_entities(query, parameters={"job": job_id})]


def make_due(stack: StackInfo, job_id: str) -> None:
    """Let the time pass until the entry is due, which its key says: `o:<due>:<job>`."""
    (entry,) = outbox(stack, job_id)
    past = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y%m%dT%H%M%S%fZ")
    moved = {**entry, "RowKey": f"o:{past}:{job_id}"}
    with table(stack, "jobs") as jobs:
        jobs.submit_transaction([("delete", entry), ("create", moved)])


async def send_outbox(app: httpx.AsyncClient) -> None:
    """Run the timer function, as the clock does twice a minute."""
    answer = await app.post("/admin/functions/send_outbox", json={})
    assert answer.status_code == 202, answer.text
