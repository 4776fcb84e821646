"""Edits in the forms that published examples have beside the official client's."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
import pytest

from tests.support.model_control import ModelControl
from tests.support.photographs import mask, photograph

FIELDS = {"prompt": "a boat", "quality": "low"}
PHOTOGRAPH = base64.b64encode(photograph()).decode()
SECOND = base64.b64encode(photograph("JPEG")).decode()
MASK = base64.b64encode(mask()).decode()
CONTENTS = {hashlib.sha256(content).hexdigest(): content for content in (photograph(), photograph("JPEG"), mask())}
EDITS = ("/openai/v1/images/edits", "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview")


@pytest.mark.parametrize("path", EDITS)
@pytest.mark.parametrize(
    "body",
    [
        {"image": PHOTOGRAPH, "mask": MASK},
        {"image": [PHOTOGRAPH], "mask": f"data:image/png;base64,{MASK}"},
        {"images": [{"image_url": f"data:image/png;base64,{PHOTOGRAPH}"}], "mask": {"image_url": MASK}},
        {"images": [{"data": PHOTOGRAPH}], "mask": {"data": MASK}},
    ],
    ids=["text", "list of text", "image_url", "data"],
)
async def test_json_may_hold_the_images(
    app_client: httpx.AsyncClient, model: ModelControl, path: str, body: dict[str, Any]
) -> None:
    answer = await app_client.post(path, json={**FIELDS, **body})

    assert answer.status_code == 200, answer.text
    assert sent(model) == [("image", photograph()), ("mask", mask())]


async def test_a_form_may_hold_the_images_as_base64_text(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    parts = [*FIELDS.items(), ("image", PHOTOGRAPH), ("image", SECOND), ("mask", MASK)]

    answer = await app_client.post(EDITS[0], files=[(name, (None, value)) for name, value in parts])

    assert answer.status_code == 200, answer.text
    assert sent(model) == [("image[]", photograph()), ("image[]", photograph("JPEG")), ("mask", mask())]


@pytest.mark.parametrize("field", ["image", "image[]", "images", "images[]"])
async def test_files_may_come_under_each_name_in_use(
    app_client: httpx.AsyncClient, model: ModelControl, field: str
) -> None:
    answer = await app_client.post(
        EDITS[0], data=FIELDS, files=[(field, photograph()), (field, photograph("JPEG")), ("mask", mask())]
    )

    assert answer.status_code == 200, answer.text
    assert sent(model) == [("image[]", photograph()), ("image[]", photograph("JPEG")), ("mask", mask())]


async def test_the_text_fields_may_come_before_between_and_after_the_files(
    app_client: httpx.AsyncClient, model: ModelControl
) -> None:
    parts: list[tuple[str, Any]] = [
        ("mask", mask()),
        ("quality", (None, "low")),
        ("image", photograph()),
        ("prompt", (None, "a boat")),
    ]

    answer = await app_client.post(EDITS[0], files=parts)

    assert answer.status_code == 200, answer.text
    assert sent(model) == [("image", photograph()), ("mask", mask())]


def sent(model: ModelControl) -> list[tuple[str, bytes]]:
    """Field and bytes of each file of the one call the model took."""
    (call,) = model.calls()
    return [(file["field"], CONTENTS[file["sha256"]]) for file in call["files"]]
