"""A caller's own pairs, in any script, arrive everywhere or are refused before the model is asked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from shared.images.metadata import decode_metadata
from tests.support.model_control import ModelControl
from tests.support.peers import blob, events
from tests.support.requests import PROMPT, generate, job, polled_to_its_end, run
from tests.support.waiting import eventually

PAIRS = {
    "заказ": "№ 7 — «маяк»",
    "emoji": "🦊👩‍👩‍👧‍👦🏳️‍🌈",
    "lines": "one\ntwo\r\nthree\tfour",
    "odd key: =;,\"'/\\%?&#\n": "odd",
    "accents": "e\u0301 is not é",
    "right to left": "مرحبا \u202eשלום",
    "quotes": '{"json": "inside", "n": 1}',
    " spaces ": "  around  ",
    "empty": "",
    "percent": "100%25 %00 %",
    "control": "a\x00b\x1f",
    "__proto__": "x",
}


async def test_pairs_of_any_script_survive_to_sidecar_event_blob_and_job(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    answer = await generate(app_client, metadata=PAIRS)

    assert answer.status_code == 200, answer.text
    await assert_kept(app_client, stack, answer.headers["x-darkroom-job"], PAIRS)


async def test_pairs_survive_the_queue_too(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    document = await run(app_client, metadata=PAIRS)

    await assert_kept(app_client, stack, document["id"], PAIRS)


@pytest.mark.parametrize("way", ["as JSON text", "as one field each"])
async def test_pairs_survive_a_form(app_client: httpx.AsyncClient, stack: StackInfo, way: str) -> None:
    # A form's field names cannot hold every character, so the odd key goes only as JSON.
    pairs = PAIRS if way == "as JSON text" else {name: value for name, value in PAIRS.items() if "\n" not in name}
    fields = (
        {"metadata": json.dumps(pairs)}
        if way == "as JSON text"
        else {f"metadata[{name}]": value for name, value in pairs.items()}
    )
    parts = {"prompt": PROMPT, "quality": "low", **fields}
    answer = await app_client.post("/api/jobs", files={name: (None, value) for name, value in parts.items()})

    assert answer.status_code == 202, answer.text
    document = await polled_to_its_end(answer.headers["location"])
    await assert_kept(app_client, stack, document["id"], pairs)


async def test_as_much_as_is_accepted_is_stored(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    pairs = {f"{number:02}" + "k" * 62: "v" * 300 for number in range(16)}

    answer = await generate(app_client, metadata=pairs)

    assert answer.status_code == 200, answer.text
    await assert_kept(app_client, stack, answer.headers["x-darkroom-job"], pairs)


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        ({f"key {number}": "" for number in range(17)}, "metadata"),
        ({"k" * 65: "v"}, None),
        ({"key": "v" * 513}, "metadata.key"),
        ({"": "v"}, "metadata."),
        ({"key": 7}, "metadata.key"),
        ({"key": None}, "metadata.key"),
        ({"key": ["v"]}, "metadata.key"),
        (["key"], "metadata"),
        ("key=value", "metadata"),
        ({f"key {number}": "я" * 128 for number in range(10)}, "metadata"),
        ({"key": "\ud83d"}, "metadata.key"),
    ],
    ids=["pairs", "key", "value", "no key", "number", "null", "list", "a list", "text", "6 KB", "half a character"],
)
async def test_what_could_not_be_stored_is_refused_before_the_model_is_asked(
    app_client: httpx.AsyncClient, model: ModelControl, metadata: Any, param: str | None
) -> None:
    body = json.dumps({"prompt": PROMPT, "quality": "low", "metadata": metadata})
    for path in ("/openai/v1/images/generations", "/api/jobs"):
        answer = await app_client.post(path, content=body, headers={"content-type": "application/json"})

        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["param"].startswith("metadata")
        assert param in (None, error["param"])
    assert model.calls() == []


async def assert_kept(app: httpx.AsyncClient, stack: StackInfo, job_id: str, pairs: dict[str, str]) -> None:
    document = await job(app, job_id)
    assert document["metadata"] == pairs
    sidecar = (await app.get(f"/api/images/{job_id}/0/provenance")).json()
    assert sidecar["metadata"] == pairs
    properties = blob(stack, document["images"][0]["blob"]).get_blob_properties()
    assert decode_metadata(properties.metadata["darkroom_metadata"]) == pairs
    (event,) = await eventually(lambda: events(stack, job_id), what="the event")
    assert event["data"]["metadata"] == pairs
