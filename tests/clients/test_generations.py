"""The official `openai` clients ask the app for images and read its answers with their own types."""

from __future__ import annotations

import base64
import hashlib
import io
import time

import httpx
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from local.state import StackInfo
from tests.clients.conftest import DEPLOYMENT, Client, make_client, settled
from tests.support.model_control import ModelControl
from tests.support.requests import job

PROMPT = 'A lighthouse at dawn with the words "Guten Morgen"'


def pictures(answer: ImagesResponse) -> list[bytes]:
    """The images of an answer, as bytes."""
    assert answer.data is not None
    return [base64.b64decode(item.b64_json or "", validate=True) for item in answer.data]


def assert_these_are_the_models(model: ModelControl, images: list[bytes]) -> None:
    """Every byte that the model sent reached the client, in order; and the model was called once."""
    (call,) = model.calls()
    assert [hashlib.sha256(image).hexdigest() for image in images] == [made["sha256"] for made in call["images"]]


async def test_every_client_generates_an_image_and_reads_the_whole_answer(client: Client, model: ModelControl) -> None:
    answer = await settled(client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low"))

    assert isinstance(answer, ImagesResponse)
    assert abs(answer.created - time.time()) < 300
    assert (answer.size, answer.quality, answer.output_format) == ("1024x1024", "low", "png")
    assert answer.background == "opaque"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.output_tokens == 272
    assert answer.usage.input_tokens_details.text_tokens == answer.usage.input_tokens
    (image,) = pictures(answer)
    with Image.open(io.BytesIO(image)) as decoded:
        assert (decoded.format, decoded.size) == ("PNG", (1024, 1024))
    assert_these_are_the_models(model, [image])


async def test_several_images_come_in_the_order_the_model_made_them(either_client: Client, model: ModelControl) -> None:
    answer = await settled(
        either_client.images.generate(
            model=DEPLOYMENT, prompt=PROMPT, n=3, quality="low", output_format="jpeg", output_compression=60
        )
    )

    assert answer.output_format == "jpeg"
    images = pictures(answer)
    assert len(images) == 3
    assert_these_are_the_models(model, images)
    assert model.calls()[0]["parameters"]["output_compression"] == 60


async def test_options_of_the_client_reach_the_model(v1_client: openai.AsyncOpenAI, model: ModelControl) -> None:
    answer = await v1_client.images.generate(
        model=DEPLOYMENT,
        prompt=PROMPT,
        size="1536x1024",
        quality="low",
        background="transparent",
        moderation="low",
        user="somebody",
    )

    assert (answer.size, answer.background) == ("1536x1024", "transparent")
    (call,) = model.calls()
    assert call["parameters"] == {
        "prompt": PROMPT,
        "n": 1,
        "size": "1536x1024",
        "quality": "low",
        "output_format": "png",
        "background": "transparent",
        "moderation": "low",
        "user": "somebody",
    }


async def test_fields_of_darkroom_travel_in_extra_body_and_its_the_job_in_a_header(
    v1_client: openai.AsyncOpenAI, app_client: httpx.AsyncClient
) -> None:
    raw = await v1_client.images.with_raw_response.generate(
        model=DEPLOYMENT, prompt=PROMPT, quality="low", extra_body={"metadata": {"order": "№ 7"}}
    )

    assert len(pictures(raw.parse())) == 1
    document = await job(app_client, raw.headers["x-darkroom-job"])
    assert document["metadata"] == {"order": "№ 7"}
    assert document["images"][0]["provenance"]["state"] == "trusted"


async def test_what_an_image_cost_is_in_the_headers_of_an_answer_that_was_stored_first(
    v1_client: openai.AsyncOpenAI, app_client: httpx.AsyncClient
) -> None:
    raw = await v1_client.images.with_raw_response.generate(
        model=DEPLOYMENT, prompt=PROMPT, quality="low", response_format="url"
    )

    document = (await app_client.get(f"/api/jobs/{raw.headers['x-darkroom-job']}")).json()
    assert raw.headers["x-darkroom-cost"] == f"{document['cost']['amount']} USD"
    assert raw.headers["x-darkroom-provenance"] == "trusted"


async def test_the_deployment_of_the_path_wins_over_the_model_of_the_body(
    stack: StackInfo, model: ModelControl
) -> None:
    client = make_client("AzureOpenAI", stack, azure_deployment=DEPLOYMENT)
    answer = await settled(client.images.generate(model="whatever", prompt=PROMPT, quality="low"))
    await settled(client.close())

    assert_these_are_the_models(model, pictures(answer))
    assert model.calls()[0]["deployment"] == DEPLOYMENT


async def test_the_clients_own_key_goes_nowhere(client: Client, model: ModelControl) -> None:
    with pytest.raises(openai.BadRequestError):
        await settled(client.images.generate(model=DEPLOYMENT, prompt="[[content_filter_prompt]]"))

    (call,) = model.calls()
    assert (call["auth"], call["audience"]) == ("bearer", "https://cognitiveservices.azure.com")
