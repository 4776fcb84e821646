"""The official `openai` clients edit images through the app: what they send is what the model gets."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image

from tests.clients.conftest import DEPLOYMENT, Client, settled
from tests.clients.test_generations import assert_these_are_the_models, pictures
from tests.support.model_control import ModelControl
from tests.support.photographs import SIDE, mask, photograph

PROMPT = "Put a red boat on the lake"
small = pytest.mark.usefixtures("small_images")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_of_the_call(model: ModelControl) -> list[dict[str, Any]]:
    """The files that the model was sent in the one call it took."""
    (call,) = model.calls()
    files: list[dict[str, Any]] = call["files"]
    return files


async def test_every_client_edits_one_image(client: Client, model: ModelControl) -> None:
    source = photograph()

    answer = await settled(
        client.images.edit(model=DEPLOYMENT, image=("photo.png", source), prompt=PROMPT, quality="low")
    )

    assert isinstance(answer, ImagesResponse)
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens > 0
    assert_these_are_the_models(model, pictures(answer))
    (sent,) = files_of_the_call(model)
    assert (sent["field"], sent["sha256"], sent["content_type"]) == ("image", sha256(source), "image/png")


async def test_an_exact_edit_comes_back_with_the_sources_pixels_outside_its_mask(
    either_client: Client, model: ModelControl
) -> None:
    answer = await settled(
        either_client.images.edit(
            model=DEPLOYMENT,
            image=("photo.jpg", photograph("JPEG")),
            mask=("mask.png", mask()),
            prompt=PROMPT,
            quality="low",
            extra_body={"preserve": "exact"},
        )
    )

    (picture,) = pictures(answer)
    made, source = (Image.open(io.BytesIO(data)).convert("RGB") for data in (picture, photograph("JPEG")))
    assert made.size == source.size
    above = (0, 0, SIDE, SIDE // 4)
    assert made.crop(above).tobytes() == source.crop(above).tobytes()
    middle = (SIDE // 3, SIDE // 3, SIDE // 2, SIDE // 2)
    assert made.crop(middle).tobytes() != source.crop(middle).tobytes()
    (called,) = model.calls()
    assert sha256(picture) != called["images"][0]["sha256"]


@small
async def test_every_client_edits_with_a_mask(client: Client, model: ModelControl) -> None:
    answer = await settled(
        client.images.edit(
            model=DEPLOYMENT,
            image=("photo.png", photograph()),
            mask=("mask.png", mask()),
            prompt=PROMPT,
            quality="low",
            n=2,
        )
    )

    assert len(pictures(answer)) == 2
    assert_these_are_the_models(model, pictures(answer))
    assert [(file["field"], file["sha256"]) for file in files_of_the_call(model)] == [
        ("image", sha256(photograph())),
        ("mask", sha256(mask())),
    ]


@small
async def test_every_client_edits_sixteen_images_in_their_order(client: Client, model: ModelControl) -> None:
    sources = [photograph("JPEG" if number % 2 else "PNG", shade=number) for number in range(16)]

    answer = await settled(
        client.images.edit(model=DEPLOYMENT, image=sources, prompt=PROMPT, quality="low", input_fidelity="high")
    )

    assert_these_are_the_models(model, pictures(answer))
    sent = files_of_the_call(model)
    assert [file["sha256"] for file in sent] == [sha256(source) for source in sources]
    assert {file["field"] for file in sent} == {"image[]"}
    assert model.calls()[0]["parameters"]["input_fidelity"] == "high"


@small
async def test_sixteen_images_and_a_mask_and_several_results(
    v1_client: openai.AsyncOpenAI, model: ModelControl
) -> None:
    sources = [("photo.png", photograph(shade=number)) for number in range(16)]

    answer = await v1_client.images.edit(
        model=DEPLOYMENT, image=sources, mask=mask(), prompt=PROMPT, quality="low", n=3, output_format="jpeg"
    )

    assert answer.output_format == "jpeg"
    assert len(pictures(answer)) == 3
    assert_these_are_the_models(model, pictures(answer))
    assert len(files_of_the_call(model)) == 17


@small
@pytest.mark.parametrize("way", ["bytes", "path", "open file", "buffer", "name, bytes, type"])
async def test_an_image_may_be_given_in_every_way_the_client_knows(
    v1_client: openai.AsyncOpenAI, model: ModelControl, tmp_path: Path, way: str
) -> None:
    source = photograph("JPEG", shade=99)
    path = tmp_path / "фото.jpg"
    path.write_bytes(source)
    with path.open("rb") as opened:
        ways: dict[str, Any] = {
            "bytes": source,
            "path": path,
            "open file": opened,
            "buffer": io.BytesIO(source),
            "name, bytes, type": ("photo", source, "application/octet-stream"),
        }
        answer = await v1_client.images.edit(model=DEPLOYMENT, image=ways[way], prompt=PROMPT, quality="low")

    assert_these_are_the_models(model, pictures(answer))
    (sent,) = files_of_the_call(model)
    # The type is the one the bytes have, whatever the client called them.
    assert (sent["sha256"], sent["content_type"]) == (sha256(source), "image/jpeg")


async def test_a_result_of_the_client_is_the_source_of_its_next_edit(
    v1_client: openai.AsyncOpenAI, model: ModelControl
) -> None:
    first = await v1_client.images.generate(model=DEPLOYMENT, prompt="A lake", quality="low")
    (image,) = pictures(first)

    second = await v1_client.images.edit(
        model=DEPLOYMENT, image=("lake.png", image), mask=mask(1024), prompt=PROMPT, quality="low"
    )

    assert len(pictures(second)) == 1
    assert model.calls()[1]["files"][0]["sha256"] == sha256(image)
