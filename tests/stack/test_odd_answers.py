"""What a paid answer may hold beside its images never makes them be lost."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.peers import events
from tests.support.requests import generate, job
from tests.support.signing import picture
from tests.support.waiting import eventually

IMAGE = base64.b64encode(picture()).decode()


def answer_with(item: str = "", **members: Any) -> str:
    """The text of an answer with one image; `item` is more JSON of its item."""
    rest = "".join(f', "{name}": {json.dumps(value)}' for name, value in members.items())
    return f'{{"data": [{{"b64_json": "{IMAGE}"{item}}}]{rest}}}'


@pytest.mark.parametrize(
    "body",
    [
        answer_with(),
        answer_with(created="soon", usage=None),
        answer_with(usage="much"),
        answer_with(usage=[1]),
        answer_with(usage={}),
        answer_with(usage={"input_tokens": "12", "output_tokens": None, "total_tokens": -1}),
        answer_with(usage={"input_tokens": 1.5, "output_tokens": True, "input_tokens_details": []}),
        answer_with(usage={"input_tokens": 10**30, "output_tokens": 10**30}),
        answer_with(', "revised_prompt": "half \\ud83d", "url": null'),
        answer_with(', "revised_prompt": 7, "content_filter_results": "safe", "prompt_filter_results": []'),
        answer_with(', "nested": ' + "[" * 60 + "]" * 60),
        answer_with(size=1, quality={}, output_format=["png"], background=None, error=None),
    ],
)
async def test_an_image_is_stored_and_answered_whatever_stands_beside_it(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, body: str
) -> None:
    model.fail({"status": 200, "body": body})

    answer = await generate(app_client)

    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"] == IMAGE
    job_id = answer.headers["x-darkroom-job"]
    assert len((await job(app_client, job_id))["images"]) == 1
    assert (await app_client.get(f"/api/images/{job_id}/0/provenance")).status_code == 200
    told = await eventually(lambda: events(stack, job_id), what="the job's event")
    assert {event["type"] for event in told} == {"Darkroom.Job.Succeeded"}
