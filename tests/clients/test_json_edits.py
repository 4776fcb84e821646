"""Edits as JSON, in the form of OpenAI's specification: `images` and `mask` as `image_url`, a data URL or an https one.

https://github.com/openai/openai-openapi (`EditImageBodyJsonParam`, `ImageRefParam`). Azure takes multipart only, the
app both. Other forms in use are in tests/stack/test_edit_forms.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.certificates import Certificates
from tests.clients.conftest import API_VERSION, DEPLOYMENT
from tests.support.model_control import ModelControl
from tests.support.photographs import mask, photograph
from tests.support.receiver import Receiver, answer, receiving

EDITS = ("/openai/v1/images/edits", f"/openai/deployments/{DEPLOYMENT}/images/edits?api-version={API_VERSION}")
pytestmark = pytest.mark.usefixtures("small_images")
FIELDS = {"model": DEPLOYMENT, "prompt": "a boat", "quality": "low"}


@pytest.fixture
async def receiver(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def sent(model: ModelControl) -> list[tuple[str, str]]:
    """Field and hash of each file of the one call the model took."""
    (call,) = model.calls()
    return [(file["field"], file["sha256"]) for file in call["files"]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("path", EDITS)
async def test_images_and_mask_come_as_data_urls_and_from_allowed_hosts(
    app_client: httpx.AsyncClient, model: ModelControl, receiver: Receiver, path: str
) -> None:
    second = photograph("JPEG", shade=50)
    receiver.answers = [answer(200, second)]
    body = {
        **FIELDS,
        "images": [{"image_url": data_url(photograph())}, {"image_url": f"{receiver.url}/second.jpg?sig=s3cret"}],
        "mask": {"image_url": data_url(mask())},
        "input_fidelity": "high",
        "output_format": "jpeg",
        "output_compression": 70,
    }

    response = await app_client.post(path, json=body)

    assert response.status_code == 200, response.text
    assert sent(model) == [("image[]", sha256(photograph())), ("image[]", sha256(second)), ("mask", sha256(mask()))]
    assert model.calls()[0]["parameters"]["output_compression"] == "70"
    assert [heard.target for heard in receiver.requests] == ["/second.jpg?sig=s3cret"]
    (item,) = response.json()["data"]
    assert sha256(base64.b64decode(item["b64_json"])) == model.calls()[0]["images"][0]["sha256"]


@pytest.mark.parametrize("path", EDITS)
async def test_an_edit_that_came_as_json_streams_like_any_other(
    app_client: httpx.AsyncClient, model: ModelControl, path: str
) -> None:
    images = [{"image_url": data_url(photograph())}]

    response = await app_client.post(path, json={**FIELDS, "images": images, "stream": True, "partial_images": 1})

    assert response.headers["content-type"].startswith("text/event-stream")
    data = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data")]
    assert [one["type"] for one in data] == ["image_edit.partial_image", "image_edit.completed"]
    assert sent(model) == [("image", sha256(photograph()))]


@pytest.mark.parametrize("path", EDITS)
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"images": [{"file_id": "file-abc123"}]}, "unsupported_parameter", "images[0].file_id"),
        (
            {"images": [{"image_url": data_url(photograph())}], "mask": {"file_id": "file-abc123"}},
            "unsupported_parameter",
            "mask.file_id",
        ),
        ({"images": [{"image_url": data_url(photograph()), "file_id": "f"}]}, "unsupported_parameter", None),
        ({"images": [{}]}, "invalid_value", "images[0]"),
        ({"images": []}, "missing_required_parameter", "image"),
        ({"images": [{"image_url": data_url(photograph())}] * 17}, "invalid_value", "images"),
        ({"images": [{"image_url": "https://images.example.com/a.png"}]}, "source_not_readable", "images[0].image_url"),
        ({"images": [{"url": "https://images.example.com/a.png"}]}, "source_not_readable", "images[0].url"),
        (
            {
                "images": [{"image_url": data_url(photograph())}],
                "mask": {"image_url": "https://images.example.com/a.png?sig=s3cret"},
            },
            "source_not_readable",
            "mask.image_url",
        ),
        ({"images": [{"image_url": "http://127.0.0.1/a.png"}]}, "invalid_image", "images[0].image_url"),
        ({"images": [{"image_url": "data:text/plain;base64,aGk="}]}, "invalid_image", "images[0].image_url"),
        ({"images": [{"image_url": data_url(b"no image")}]}, "invalid_image", "images[0].image_url"),
        (
            {"images": [{"image_url": data_url(photograph())}], "mask": {"image_url": data_url(mask(side=32))}},
            "invalid_mask",
            "mask.image_url",
        ),
        (
            {"images": [{"image_url": data_url(photograph("WEBP"), "image/webp")}]},
            "invalid_image",
            "images[0].image_url",
        ),
        ({"images": [{"image_url": 7}]}, "invalid_type", "images[0].image_url"),
        (
            {"images": [{"image_url": data_url(photograph()), "detail": "high"}]},
            "unknown_parameter",
            "images[0].detail",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
async def test_what_cannot_be_used_is_refused_by_the_fields_name(
    app_client: httpx.AsyncClient, model: ModelControl, path: str, fields: dict[str, Any], code: str, param: str | None
) -> None:
    response = await app_client.post(path, json={**FIELDS, **fields})

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, code), error
    assert param is None or error["param"] == param, error
    assert "s3cret" not in error["message"]
    assert model.calls() == []
