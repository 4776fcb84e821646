"""Not a byte of a model's image changes: on its way to the blob, to the caller, and back from the blob."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import c2pa
import httpx
import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.peers import blob, fetch
from tests.support.requests import generate, generated, job, run
from tests.support.signing import EMAIL_PROTECTION, picture, vendor


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
@pytest.mark.parametrize("n", range(1, 11))
async def test_blob_answer_route_and_link_give_the_models_bytes(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, output_format: str, n: int
) -> None:
    answer = await generate(app_client, n=n, output_format=output_format)

    assert answer.status_code == 200, answer.text
    (call,) = model.calls()
    sent = [image["sha256"] for image in call["images"]]
    assert len(sent) == n
    assert [sha256(base64.b64decode(item["b64_json"], validate=True)) for item in answer.json()["data"]] == sent
    images = (await job(app_client, answer.headers["x-darkroom-job"]))["images"]
    assert [image["sha256"] for image in images] == sent
    assert [image["bytes"] for image in images] == [image["bytes"] for image in call["images"]]
    for image in images:
        stored = blob(stack, image["blob"]).download_blob()
        assert sha256(stored.readall()) == image["sha256"]
        assert stored.properties.content_settings.content_type == f"image/{output_format}"
    route = await app_client.get(f"/api/images/{answer.headers['x-darkroom-job']}/{n - 1}")
    assert sha256(route.content) == sent[-1]
    assert sha256(fetch(stack, "GET", images[-1]["url"]).content) == sent[-1]


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
async def test_c2pa_reads_the_stored_blob_as_it_read_the_original(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, image_format: str
) -> None:
    content_type = f"image/{image_format}"
    original = vendor(EMAIL_PROTECTION).sign(picture(content_type), content_type)
    model.fail({"image_bytes_b64": base64.b64encode(original).decode()})

    (image,) = (await generated(app_client, output_format=image_format))["images"]

    stored = blob(stack, image["blob"]).download_blob().readall()
    assert stored == original
    assert manifest_store(stored, image["content_type"]) == manifest_store(original, image["content_type"])


async def test_a_queued_job_stores_the_models_bytes_too(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    images = (await run(app_client, n=2, output_format="jpeg"))["images"]

    (call,) = model.calls()
    stored = [blob(stack, image["blob"]).download_blob().readall() for image in images]
    assert [sha256(content) for content in stored] == [image["sha256"] for image in call["images"]]


async def test_an_image_that_goes_up_in_blocks_is_the_models_to_the_byte(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    model.fail({"oversize_image_mb": 9.0})

    (image,) = (await generated(app_client))["images"]

    assert image["bytes"] > 8 * 2**20
    (call,) = model.calls()
    assert sha256(blob(stack, image["blob"]).download_blob().readall()) == call["images"][0]["sha256"]
    assert image["provenance"]["state"] == "trusted"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest_store(content: bytes, content_type: str) -> Any:
    """What c2pa makes of an image, with its own defaults: manifests, validation state and all."""
    with c2pa.Reader(content_type, io.BytesIO(content)) as reader:
        return json.loads(reader.json())
