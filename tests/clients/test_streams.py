"""The official `openai` clients stream images through the app, sync and async, on both surfaces."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import ImageGenCompletedEvent
from PIL import Image

from local.state import StackInfo
from tests.clients.conftest import DEPLOYMENT, Client
from tests.clients.javascript import KINDS, File, call, make_calls
from tests.clients.streams import arriving, assert_exact, collect, image, sha256, stream
from tests.support.model_control import ModelControl
from tests.support.node import check_types, link_packages
from tests.support.peers import events as announced
from tests.support.peers import fetch
from tests.support.photographs import mask, photograph
from tests.support.pictures import base64_text, png
from tests.support.requests import job
from tests.support.waiting import eventually

PROMPT = "A lighthouse at dawn"
small = pytest.mark.usefixtures("small_images")


@small
async def test_every_client_streams_a_generation(client: Client, model: ModelControl) -> None:
    *partials, completed = await stream(client, prompt=PROMPT, partial_images=2)

    for event in (*partials, completed):
        assert_exact(event)
    assert [(event.type, event.partial_image_index) for event in partials] == [
        ("image_generation.partial_image", 0),
        ("image_generation.partial_image", 1),
    ]
    assert completed.type == "image_generation.completed"
    (made,) = model.calls()
    assert (made["parameters"]["stream"], made["parameters"]["partial_images"]) == (True, 2)
    assert [sha256(completed)] == [one["sha256"] for one in made["images"]]
    assert completed.usage.to_dict() == made["usage"]


async def test_the_images_of_a_stream_are_as_they_were_asked_for(either_client: Client, model: ModelControl) -> None:
    partial, completed = await stream(
        either_client, prompt=PROMPT, partial_images=1, size="1536x1024", output_format="jpeg"
    )

    for event in (partial, completed):
        assert (event.size, event.quality, event.output_format) == ("1536x1024", "low", "jpeg")
        with Image.open(io.BytesIO(image(event))) as decoded:
            assert (decoded.format, decoded.size) == ("JPEG", (1536, 1024))
    assert [sha256(completed)] == [one["sha256"] for one in model.calls()[0]["images"]]


@small
async def test_every_client_streams_an_edit_with_a_mask(client: Client, model: ModelControl) -> None:
    partial, completed = await stream(
        client,
        "edit",
        prompt=PROMPT,
        image=("photo.png", photograph()),
        mask=("mask.png", mask()),
        partial_images=1,
    )

    assert_exact(partial)
    assert_exact(completed)
    assert (partial.type, completed.type) == ("image_edit.partial_image", "image_edit.completed")
    (made,) = model.calls()
    assert [file["field"] for file in made["files"]] == ["image", "mask"]
    assert [sha256(completed)] == [one["sha256"] for one in made["images"]]


@small
async def test_without_partial_images_a_stream_is_its_end_alone(either_client: Client, model: ModelControl) -> None:
    (completed,) = await stream(either_client, prompt=PROMPT)

    assert_exact(completed)
    assert completed.type == "image_generation.completed"


@small
async def test_several_images_stream_one_after_the_other(either_client: Client, model: ModelControl) -> None:
    events = await stream(either_client, prompt=PROMPT, n=2, partial_images=1, output_format="jpeg")

    for event in events:
        assert_exact(event)
    assert [event.type.partition(".")[2] for event in events] == ["partial_image", "completed"] * 2
    (made,) = model.calls()
    assert [sha256(event) for event in events[1::2]] == [one["sha256"] for one in made["images"]]


@small
async def test_a_streamed_image_is_kept_announced_and_accounted_like_any_other(
    v1_client: openai.AsyncOpenAI, app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    raw = await v1_client.images.with_raw_response.generate(
        model=DEPLOYMENT,
        prompt=PROMPT,
        quality="low",
        stream=True,
        partial_images=1,
        extra_body={"metadata": {"k": "v"}},
    )
    completed = [event async for event in raw.parse()][-1]
    assert isinstance(completed, ImageGenCompletedEvent)

    document = await job(app_client, raw.headers["x-darkroom-job"])
    (kept,) = document["images"]
    assert document["status"] == "succeeded"
    assert document["metadata"] == {"k": "v"}
    assert kept["sha256"] == sha256(completed)
    assert fetch(stack, "GET", kept["url"]).content == image(completed)
    assert document["usage"]["total_tokens"] == completed.usage.total_tokens
    assert document["cost"]["amount"] is not None
    (event,) = await eventually(lambda: announced(stack, document["id"]), what="the event of the job's end")
    assert event["type"] == "Darkroom.Job.Succeeded"


async def test_events_cut_at_every_byte_reach_the_client_whole(either_client: Client, model: ModelControl) -> None:
    model.behave(chunk_size=1, faults=[{"image_bytes_b64": base64_text(png())}])

    events = await stream(either_client, prompt=PROMPT, partial_images=3)

    for event in events:
        assert_exact(event)
    assert len(events) == 4
    assert [sha256(events[-1])] == [one["sha256"] for one in model.calls()[0]["images"]]


async def test_a_stream_cut_within_an_event_is_an_error_that_is_not_asked_again(
    either_client: Client, model: ModelControl
) -> None:
    small = {"image_bytes_b64": base64_text(png(800, 600))}
    model.fail(small)
    whole = await stream(either_client, prompt=PROMPT, partial_images=2)
    length, first = model.calls()[0]["bytes_sent"], len(whole[0].b64_json)

    for after in (100, first // 2, first + 500, length - 50):
        model.forget()
        model.fail({**small, "cut_after_bytes": after})
        seen: list[Any] = []
        with pytest.raises(openai.APIError) as caught:
            await collect(seen, arriving(either_client, prompt=PROMPT, partial_images=2))

        error = caught.value
        assert (error.code, len(model.calls())) == ("outcome_unknown", 1), after
        assert isinstance(error.body, dict)
        assert error.body["inner_error"] == {"code": "response_cut"}
        assert [event.b64_json for event in seen] == [event.b64_json for event in whole[: len(seen)]]


async def test_an_error_of_the_service_within_a_stream_keeps_its_words(
    either_client: Client, model: ModelControl
) -> None:
    model.fail({"stream_error": "moderation_blocked_output"})
    seen: list[Any] = []

    with pytest.raises(openai.APIError) as caught:
        await collect(seen, arriving(either_client, prompt=PROMPT, partial_images=1))

    assert [event.type for event in seen] == ["image_generation.partial_image"]
    assert caught.value.code == "moderation_blocked"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["moderation_details"] == {"moderation_stage": "output", "categories": ["violence"]}
    assert len(model.calls()) == 1


async def test_an_event_is_with_the_client_while_the_model_still_works(
    v1_client: openai.AsyncOpenAI, model: ModelControl
) -> None:
    model.behave(
        faults=[{"image_bytes_b64": base64_text(png(800, 600)), "hang_after_bytes": 3500, "hang_seconds": 2.0}]
    )
    events = arriving(v1_client, prompt=PROMPT, partial_images=1)

    first = await anext(events)
    outcome = model.calls()[0]["outcome"]
    rest = [event async for event in events]

    assert (first.type, outcome) == ("image_generation.partial_image", "running")
    assert [event.type for event in rest] == ["image_generation.completed"]


@small
async def test_what_is_refused_before_a_stream_begins_is_an_error_with_its_status(
    either_client: Client, model: ModelControl
) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        await stream(either_client, prompt=PROMPT, size="512x512")
    with pytest.raises(openai.BadRequestError) as blocked:
        await stream(either_client, prompt=f"{PROMPT} [[moderation_blocked]]")

    assert (wrong.value.status_code, wrong.value.code, wrong.value.param) == (400, "invalid_value", "size")
    assert (blocked.value.status_code, blocked.value.code) == (400, "moderation_blocked")
    assert len(model.calls()) == 1


@small
def test_javascript_streams_a_generation_and_an_edit_by_its_own_types(
    stack: StackInfo, model: ModelControl, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(photograph())
    (tmp_path / "mask.png").write_bytes(mask())
    files: dict[str, Any] = {"image": File(tmp_path / "photo.png"), "mask": File(tmp_path / "mask.png")}
    model.behave(chunk_size=1000)
    calls = (
        call("generate", prompt=PROMPT, stream=True, partial_images=2),
        call("edit", prompt=PROMPT, stream=True, partial_images=1, **files),
    )

    results = [result for kind in KINDS for result in make_calls(kind, stack, *calls)]

    generated, edited = results[0::2], results[1::2]
    for result in generated:
        kinds = [event["type"].partition(".")[2] for event in result["events"]]
        assert kinds == ["partial_image", "partial_image", "completed"]
    for result in edited:
        assert [event["type"] for event in result["events"]] == ["image_edit.partial_image", "image_edit.completed"]
    for result, made in zip(results, model.calls(), strict=True):
        assert result["headers"]["x-darkroom-job"]
        assert result["events"][-1]["b64_json"] == f"sha256:{made['images'][0]['sha256']}"
    (tmp_path / "events.mts").write_text(
        'import type { ImageEditStreamEvent, ImageGenStreamEvent } from "openai/resources/images";\n'
        f"export const generated: ImageGenStreamEvent[][] = {json.dumps([one['events'] for one in generated])};\n"
        f"export const edited: ImageEditStreamEvent[][] = {json.dumps([one['events'] for one in edited])};\n"
    )
    link_packages(tmp_path)
    assert check_types(tmp_path, "events.mts") == ""


def test_javascript_meets_the_error_of_a_broken_stream(stack: StackInfo, model: ModelControl) -> None:
    model.fail({"cut_after_bytes": 30_000}, {"stream_error": "moderation_blocked_output"})

    cut, blocked = make_calls(
        "OpenAI", stack, *[call("generate", prompt=PROMPT, stream=True, partial_images=1) for _ in range(2)]
    )

    assert (cut["error"]["isApiError"], cut["error"]["code"]) == (True, "outcome_unknown")
    assert (blocked["error"]["isApiError"], blocked["error"]["code"]) == (True, "moderation_blocked")
    assert len(model.calls()) == 2
