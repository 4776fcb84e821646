"""What is sent: explicit parameters, `model` on v1 only, and multipart that streams and still knows its length."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from shared.images.request import parse
from shared.images.sources import Source
from shared.model import deployments, payload
from shared.platform import multipart
from shared.platform.multipart import Part
from shared.settings import Deployment

DEPLOYMENT = Deployment("images", "https://one.openai.azure.com", "images")
V1 = replace(DEPLOYMENT, api_version="preview")
KNOWN = {"images": "gpt-image-1"}


async def body_of(made: payload.Payload) -> bytes:
    return b"".join([chunk async for chunk in made.read()])


async def test_a_generation_sends_every_parameter_explicitly_and_no_model() -> None:
    request = parse({"prompt": "Żółw", "n": 2}, kind="generate", deployments=KNOWN)
    made = payload.build(request, DEPLOYMENT, [])
    sent = json.loads(await body_of(made))

    assert made.content_type == "application/json"
    assert made.length == len(await body_of(made))
    assert {
        "prompt": "Żółw",
        "n": 2,
        "size": "1024x1024",
        "quality": "high",
        "output_format": "png",
    }.items() <= sent.items()
    assert "model" not in sent
    assert not {"stream", "response_format", "metadata", "images"} & set(sent)


async def test_v1_wants_the_deployment_as_model() -> None:
    request = parse({"prompt": "x"}, kind="generate", deployments=KNOWN)

    assert json.loads(await body_of(payload.build(request, V1, [])))["model"] == "images"


async def test_an_edit_streams_its_files_and_declares_its_length() -> None:
    contents = {"source-0": b"\x89PNG one", "source-1": b"\xff\xd8 two", "mask": b"\x89PNG mask"}

    async def read(name: str) -> AsyncIterator[bytes]:
        for byte in contents[name]:
            yield bytes([byte])

    stored = [Source(stored="source-0"), Source(stored="source-1")]
    request = parse({"prompt": "x"}, kind="edit", deployments=KNOWN, images=stored, mask=Source(stored="mask"))
    types = {"source-0": "image/png", "source-1": "image/jpeg", "mask": "image/png"}
    sources = [
        payload.source_file("mask" if name == "mask" else "image[]", types[name], len(data), partial(read, name))
        for name, data in contents.items()
    ]
    made = payload.build(request, DEPLOYMENT, sources)
    body = await body_of(made)

    assert made.length == len(body)
    assert made.length == len(await body_of(made)), "a second call reads the sources anew"

    async def whole() -> AsyncIterator[bytes]:
        yield body

    events = [event async for event in multipart.parse(whole(), made.content_type)]
    files = [event for event in events if isinstance(event, Part) and event.filename]
    assert files == [
        Part("image[]", "image.png", "image/png"),
        Part("image[]", "image.jpg", "image/jpeg"),
        Part("mask", "mask.png", "image/png"),
    ]
    assert all(data in body for data in contents.values())


def test_each_surface_has_its_url() -> None:
    assert (
        deployments.url(replace(DEPLOYMENT, deployment="a b"), "edit")
        == "https://one.openai.azure.com/openai/deployments/a%20b/images/edits?api-version=2025-04-01-preview"
    )
    assert deployments.url(V1, "generate").endswith("/openai/v1/images/generations?api-version=preview")
    assert deployments.url(replace(V1, api_version="v1"), "generate").endswith("/openai/v1/images/generations")


def test_every_deployment_of_the_same_model_may_serve_the_named_one_first_among_equals() -> None:
    west, east, far = (replace(DEPLOYMENT, name=name) for name in ("west", "east", "far"))
    mini = replace(DEPLOYMENT, name="mini", model="gpt-image-1-mini")
    known = (west, east, replace(far, priority=-1), mini)

    assert [entry.name for entry in deployments.candidates(known, "east")] == ["far", "east", "west"]
    assert [entry.name for entry in deployments.candidates(known, "mini")] == ["mini"]
    assert [entry.name for entry in deployments.candidates(known, None)] == ["far", "west", "east"]
