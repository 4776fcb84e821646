"""The asynchronous door as Logic Apps, Power Automate and frontends use it: submit, poll, read."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.peers import blob, fetch, table
from tests.support.photographs import mask, photograph
from tests.support.requests import PROMPT, job, polled_to_its_end, run, submit
from tests.support.waiting import eventually

MEMBERS = {
    *("id", "kind", "status", "phase", "owner", "batch", "created_at", "started_at", "finished_at", "attempts"),
    *("deployment", "region", "adapted", "request", "images", "usage", "cost", "error", "metadata", "links"),
}
IMAGE_MEMBERS = {
    *("index", "url", "blob", "content_type", "width", "height", "bytes", "sha256"),
    *("revised_prompt", "content_filter", "derived", "provenance"),
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_submit_is_answered_with_what_a_flow_needs_to_come_back(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    answer = await submit(app_client, n=2, metadata={"order": "7"})

    document = answer.json()
    location = answer.headers["location"]
    assert re.fullmatch(rf"{re.escape(stack.app)}/api/jobs/{document['id']}/poll\?token=[\w-]{{43}}", location)
    assert document["links"]["poll"] == location
    assert int(answer.headers["retry-after"]) > 0
    assert re.fullmatch("[0-9a-z]{26}", document["id"])
    assert (document["status"], document["phase"], document["attempts"]) == ("queued", None, 0)
    assert (document["started_at"], document["finished_at"], document["error"]) == (None, None, None)
    assert document["images"] == []
    assert document.keys() == MEMBERS
    assert (await polled_to_its_end(location))["status"] == "succeeded"


async def test_a_finished_job_has_the_whole_document(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    answer = await submit(app_client, n=2, output_format="jpeg", metadata={"order": "7"})
    document = await polled_to_its_end(answer.headers["location"])

    (call,) = model.calls()
    assert document.keys() == MEMBERS
    assert (document["kind"], document["status"], document["phase"]) == ("generate", "succeeded", None)
    assert (document["owner"], document["batch"], document["attempts"]) == ("key", None, 1)
    assert (document["deployment"], document["region"]) == ("gpt-image-1", "westus3")
    assert (document["adapted"], document["error"]) == ([], None)
    times = [document[name] for name in ("created_at", "started_at", "finished_at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)
    assert document["request"] == {
        "kind": "generate",
        "prompt": PROMPT,
        "model": "gpt-image-1",
        "n": 2,
        "size": "1024x1024",
        "quality": "low",
        "output_format": "jpeg",
        "background": "auto",
        "moderation": "auto",
        "stream": False,
        "partial_images": 0,
        "metadata": {"order": "7"},
    }
    assert document["metadata"] == {"order": "7"}
    assert document["usage"] == call["usage"]
    # 5 USD for a million text tokens in, 40 for image tokens out (gpt-image-1).
    tokens = document["usage"]
    assert float(document["cost"]["amount"]) == pytest.approx(
        (tokens["input_tokens"] * 5 + tokens["output_tokens"] * 40) / 1e6
    )
    assert (document["cost"]["currency"], document["cost"]["possibly_billed"]) == ("USD", "0")
    assert [image["index"] for image in document["images"]] == [0, 1]
    for image, made in zip(document["images"], call["images"], strict=True):
        assert image.keys() == IMAGE_MEMBERS
        assert (image["sha256"], image["bytes"]) == (made["sha256"], made["bytes"])
        assert (image["content_type"], image["width"], image["height"]) == ("image/jpeg", 1024, 1024)
        assert image["derived"] == []
        assert image["provenance"] == {"state": "trusted", "issuer": "Local Image Server (test)"}


async def test_the_job_is_read_with_the_key_and_never_shows_its_poll_url_there(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    polled = await run(app_client)

    read = await job(app_client, polled["id"])

    assert "poll" in polled["links"]
    address = f"{stack.app}/api/jobs/{polled['id']}"
    assert read["links"] == {"self": address, "cancel": address}
    volatile = ("links", "images")
    assert {name: value for name, value in read.items() if name not in volatile} == {
        name: value for name, value in polled.items() if name not in volatile
    }
    assert fetch(stack, "GET", read["links"]["self"]).status_code == 401
    assert fetch(stack, "GET", polled["links"]["poll"]).json()["status"] == "succeeded"


async def test_the_poll_urls_of_two_jobs_open_only_their_own(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    one, other = await submit(app_client), await submit(app_client)
    token = one.headers["location"].partition("token=")[2]

    answer = fetch(stack, "GET", f"{stack.app}/api/jobs/{other.json()['id']}/poll", params={"token": token})

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "invalid_poll_token"
    for each in (one, other):
        await polled_to_its_end(each.headers["location"])


async def test_a_running_job_says_what_it_does(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    model.behave(latency_seconds=3.0)
    location = (await submit(app_client)).headers["location"]
    seen: list[tuple[str, str | None]] = []

    def look() -> bool:
        answer = fetch(stack, "GET", location)
        document = answer.json()
        seen.append((document["status"], document["phase"]))
        if answer.status_code == 202:
            assert 1 <= int(answer.headers["retry-after"]) <= 70
        return bool(answer.status_code == 200)

    await eventually(look, within=60, what="the end of the job")

    assert ("running", "calling") in seen
    assert seen[-1] == ("succeeded", None)


async def test_a_refused_job_is_a_finished_poll_with_the_reason(app_client: httpx.AsyncClient) -> None:
    document = await run(app_client, prompt="[[content_filter_prompt]]")

    assert (document["status"], document["error"]["code"]) == ("failed", "contentFilter")
    assert document["images"] == []
    assert document["cost"]["possibly_billed"] == "0"


@pytest.mark.parametrize("masked", [False, True])
async def test_a_form_with_files_is_an_edit(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, masked: bool
) -> None:
    files = [("image", ("a.png", photograph())), ("image", ("b.jpg", photograph("JPEG")))]
    files += [("mask", ("m.png", mask()))] if masked else []
    answer = await app_client.post(
        "/api/jobs", data={"prompt": PROMPT, "n": "2", "quality": "low", "metadata": '{"order": "7"}'}, files=files
    )

    assert answer.status_code == 202, answer.text
    document = await polled_to_its_end(answer.headers["location"])
    assert (document["kind"], document["status"], len(document["images"])) == ("edit", "succeeded", 2)
    named = [*document["request"]["images"], *([document["request"]["mask"]] if masked else [])]
    assert [blob(stack, source["blob"]).download_blob().readall() for source in named] == [
        content for _, (_, content) in files
    ]
    (call,) = model.calls()
    assert call["operation"] == "edits"
    assert len(call["files"]) == len(files)


async def test_an_edit_as_json_may_hold_its_images_and_name_earlier_results(
    app_client: httpx.AsyncClient, model: ModelControl
) -> None:
    first = await run(app_client)
    earlier = first["images"][0]

    document = await run(
        app_client,
        images=[{"blob": earlier["blob"]}, {"data": base64.b64encode(photograph()).decode()}],
        mask={"data": f"data:image/png;base64,{base64.b64encode(mask(1024)).decode()}"},
    )

    assert (document["kind"], document["status"]) == ("edit", "succeeded")
    sources = [{"blob": f"requests/{document['id']}/source-{number}"} for number in range(2)]
    assert document["request"]["images"] == sources
    sent = model.calls()[1]["files"]
    assert sent[0]["sha256"] == earlier["sha256"]
    assert [file["field"] for file in sent] == ["image[]", "image[]", "mask"]


async def test_many_jobs_at_once_each_end_with_their_own_image(
    app_client: httpx.AsyncClient, model: ModelControl
) -> None:
    submitted = [await submit(app_client, prompt=f"Boat number {number}") for number in range(8)]

    documents = [await polled_to_its_end(each.headers["location"]) for each in submitted]

    assert {document["status"] for document in documents} == {"succeeded"}
    by_prompt = {call["parameters"]["prompt"]: call["images"][0]["sha256"] for call in model.calls()}
    assert len(model.calls()) == 8
    assert [document["images"][0]["sha256"] for document in documents] == [
        by_prompt[document["request"]["prompt"]] for document in documents
    ]


async def test_the_ledger_has_one_row_for_the_call(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    document = await run(app_client)

    with table(stack, "ledger") as ledger:
        (row,) = ledger.query_entities("job_id eq @job", parameters={"job": document["id"]})
    assert row["PartitionKey"] == datetime.fromisoformat(document["created_at"]).strftime("%Y%m%d")
    assert row["outcome"] == "billed"


async def test_what_the_queue_door_stores_of_a_row_is_small(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    document = await run(app_client, prompt="я" * 4000)

    with table(stack, "jobs") as jobs:
        row: dict[str, Any] = dict(jobs.get_entity("jobs", f"j:{document['id']}"))
        live = list(jobs.query_entities("RowKey eq @key", parameters={"key": f"l:{document['id']}"}))
    assert live == []
    assert "я" not in str(row)
