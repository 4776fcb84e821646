"""Batches on the running stack: many requests in one POST, one status, one event, and jobs like all others."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema

from local.state import StackInfo
from tests.stack.test_events import SCHEMA
from tests.support.model_control import ModelControl
from tests.support.peers import events, events_of
from tests.support.requests import job
from tests.support.waiting import eventually

REQUEST = {"prompt": "a lighthouse", "quality": "low"}


def requests(number: int) -> list[dict[str, Any]]:
    return [{**REQUEST, "metadata": {"place": str(place)}} for place in range(number)]


async def completed(app: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    async def document() -> dict[str, Any] | None:
        found: dict[str, Any] = (await app.get(f"/api/batches/{batch_id}")).json()
        return found if found["status"] == "completed" else None

    found: dict[str, Any] = await eventually(document, within=60, what="the end of the batch")
    return found


def told(stack: StackInfo, batch_id: str) -> list[dict[str, Any]]:
    return [event for event in events_of(stack, "key") if event["subject"] == f"batches/{batch_id}"]


async def test_a_batch_becomes_images_and_one_event(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    wrong = {**REQUEST, "images": [{"blob": "closed/a.png"}]}
    body = {"requests": [*requests(11), wrong], "metadata": {"order": "1017"}}
    answer = await app_client.post("/api/batches", json=body)
    batch_id = answer.json()["id"]
    document = await completed(app_client, batch_id)
    [event] = await eventually(lambda: told(stack, batch_id), what="the event of the batch")
    jobs = (await app_client.get(answer.json()["links"]["jobs"].removeprefix(stack.app))).json()["data"]

    assert answer.status_code == 202
    assert document["counts"] == {"total": 12, "pending": 0, "succeeded": 11, "failed": 1, "canceled": 0}
    jsonschema.Draft7Validator(SCHEMA).validate(event)
    assert (event["type"], event["id"]) == ("Darkroom.Batch.Completed", f"{batch_id}/completed")
    assert event["data"] == document
    assert [entry["batch"] for entry in jobs] == [batch_id] * 12
    places = [(await job(app_client, entry["id"]))["metadata"].get("place") for entry in jobs]
    assert places == [*map(str, range(11)), None]
    assert len((await job(app_client, jobs[0]["id"]))["images"]) == 1
    failed = await eventually(lambda: events(stack, jobs[-1]["id"]), what="the event of the job that failed")
    assert failed[0]["data"]["error"]["code"] == "source_not_readable"


async def test_json_lines_become_a_batch(app_client: httpx.AsyncClient) -> None:
    body = "\n".join(json.dumps(request) for request in requests(3))
    answer = await app_client.post("/api/batches", content=body, headers={"content-type": "application/jsonl"})

    assert (await completed(app_client, answer.json()["id"]))["counts"]["succeeded"] == 3


async def test_a_wrong_line_is_told_where_it_is(app_client: httpx.AsyncClient) -> None:
    body = json.dumps(REQUEST) + "\n" + json.dumps({**REQUEST, "size": "7x7"})
    answer = await app_client.post("/api/batches", content=body, headers={"content-type": "application/x-ndjson"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "requests[1].size")
    assert answer.json()["error"]["message"].startswith("Line 2")


async def test_a_canceled_batch_ends_and_calls_no_more(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    model.behave(latency_seconds=2.0)
    batch_id = (await app_client.post("/api/batches", json=requests(60))).json()["id"]
    await eventually(model.calls, what="the first call")
    asked = await app_client.delete(f"/api/batches/{batch_id}")
    document = await completed(app_client, batch_id)
    calls = len(model.calls())
    again = await app_client.delete(f"/api/batches/{batch_id}")
    await eventually(lambda: told(stack, batch_id), what="the event of the batch")

    assert asked.status_code == 200
    counts = document["counts"]
    assert (counts["pending"], counts["failed"], counts["succeeded"] + counts["canceled"]) == (0, 0, 60)
    assert calls < 60
    assert len(model.calls()) == calls
    assert len(told(stack, batch_id)) == 1
    assert (again.status_code, again.json()["error"]["code"]) == (409, "batch_ended")
