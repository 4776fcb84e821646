"""Section 4 of the API reference: server-sent events."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from tests.unit.local_model.support import (
    EDITS,
    GENERATIONS,
    PROMPT,
    V1_GENERATIONS,
    events,
    opened,
    part,
    png,
)

STREAM = {**PROMPT, "stream": True}


def picture(data: dict[str, Any]) -> Image.Image:
    return opened(base64.b64decode(data["b64_json"], validate=True)).convert("RGB")


async def test_a_stream_without_partials_is_one_completed_event(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json=STREAM)
    [(name, data)] = events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["azureai-fe-is-streaming"] == "true"
    assert name == data["type"] == "image_generation.completed"
    expected = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    assert {key: data[key] for key in expected} == expected
    assert data["usage"]["output_tokens"] == 272
    assert isinstance(data["created_at"], int)


async def test_partial_images_come_clearer_each_time_and_cost_a_hundred_tokens(client: httpx.AsyncClient) -> None:
    answer = await client.post(V1_GENERATIONS, json={**STREAM, "model": "gpt-image-1", "partial_images": 3})
    found = events(answer.text)
    *partials, (last, completed) = found
    assert [name for name, _ in partials] == ["image_generation.partial_image"] * 3
    assert [data["partial_image_index"] for _, data in partials] == [0, 1, 2]
    assert last == "image_generation.completed"
    assert completed["usage"]["output_tokens"] == 272 + 300
    final = picture(completed)
    distances = [ImageStat.Stat(ImageChops.difference(picture(data), final)).sum[0] for _, data in partials]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] > 0


async def test_edits_stream_events_of_their_own_name(client: httpx.AsyncClient) -> None:
    data = {**PROMPT, "stream": "true", "partial_images": "1"}
    answer = await client.post(EDITS, data=data, files=[part(png())])
    assert [name for name, _ in events(answer.text)] == ["image_edit.partial_image", "image_edit.completed"]


async def test_several_images_follow_one_another_and_their_usages_add_up(client: httpx.AsyncClient) -> None:
    streamed = events((await client.post(GENERATIONS, json={**STREAM, "n": 2, "partial_images": 1})).text)
    whole = (await client.post(GENERATIONS, json={**PROMPT, "n": 2})).json()["usage"]
    usages = [data["usage"] for name, data in streamed if name.endswith("completed")]
    assert [name.rpartition(".")[2] for name, _ in streamed] == ["partial_image", "completed"] * 2
    assert sum(usage["input_tokens"] for usage in usages) == whole["input_tokens"]
    assert sum(usage["output_tokens"] for usage in usages) == whole["output_tokens"] + 200


async def test_an_error_in_the_middle_ends_the_stream(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"faults": [{"stream_error": "moderation_blocked_output"}]})
    found = events((await client.post(GENERATIONS, json={**STREAM, "partial_images": 2})).text)
    assert [name.rpartition(".")[2] for name, _ in found] == ["partial_image", "partial_image", "error"]
    assert found[-1][1]["error"]["code"] == "moderation_blocked"
    [call] = (await client.get("/_local/calls")).json()
    assert (call["code"], call["billed"]) == ("moderation_blocked", False)


async def test_a_stream_can_be_cut(port_client: httpx.AsyncClient) -> None:
    await port_client.put("/_local/behaviour", json={"faults": [{"cut_after_bytes": 5000}]})
    with pytest.raises(httpx.RemoteProtocolError):
        await port_client.post(GENERATIONS, json=STREAM)


async def test_a_refusal_of_a_streamed_call_is_plain_json(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json={**STREAM, "size": "1x1"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")


@pytest.mark.parametrize(("knob", "body"), [({"dated_streaming": False}, {}), ({"stream_several": False}, {"n": 2})])
async def test_undocumented_streams_are_knobs(
    client: httpx.AsyncClient, knob: dict[str, bool], body: dict[str, int]
) -> None:
    await client.put("/_local/behaviour", json=knob)
    assert (await client.post(GENERATIONS, json={**STREAM, **body})).status_code == 400


async def test_done_is_sent_only_when_wanted(client: httpx.AsyncClient) -> None:
    without = (await client.post(GENERATIONS, json=STREAM)).text
    await client.put("/_local/behaviour", json={"stream_done": True})
    with_done = (await client.post(GENERATIONS, json=STREAM)).text
    assert "[DONE]" not in without
    assert with_done.endswith("data: [DONE]\n\n")
