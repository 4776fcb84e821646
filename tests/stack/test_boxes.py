"""Boxes through the doors: the model is sent a mask drawn from them, and edits inside them only."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.photographs import photograph
from tests.support.requests import job, run
from tests.support.storage import Storage

SIDE = 1024
FIELDS = {"prompt": "a boat", "quality": "low"}
PHOTOGRAPH = base64.b64encode(photograph(side=SIDE)).decode()
BOXES: list[dict[str, float]] = [
    {"x": 64, "y": 128, "width": 256, "height": 512},
    {"x": 0.5, "y": 0.5, "width": 0.25, "height": 0.25},
]
INSIDE = [(64, 128, 320, 640), (512, 512, 768, 768)]
EDITS = "/openai/v1/images/edits"


async def edit_as_json(app: httpx.AsyncClient) -> bytes:
    answer = await app.post(EDITS, json={**FIELDS, "image": PHOTOGRAPH, "boxes": BOXES})
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


async def edit_as_form(app: httpx.AsyncClient) -> bytes:
    form = {**FIELDS, "boxes": json.dumps(BOXES)}
    answer = await app.post(EDITS, data=form, files={"image": photograph(side=SIDE)})
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


async def edit_as_job(app: httpx.AsyncClient) -> bytes:
    document = await run(app, prompt="a boat", images=[{"data": PHOTOGRAPH}], boxes=BOXES)
    return (await app.get(f"/api/images/{document['id']}/0")).content


@pytest.mark.parametrize("edit", [edit_as_json, edit_as_form, edit_as_job])
async def test_an_edit_changes_what_is_inside_its_boxes_and_nothing_else(
    app_client: httpx.AsyncClient, edit: Any
) -> None:
    before = Image.open(io.BytesIO(photograph(side=SIDE)))
    after = Image.open(io.BytesIO(await edit(app_client))).convert("RGB")

    changed = ImageChops.difference(before, after)
    for box in INSIDE:
        assert changed.crop(box).getbbox() is not None
        changed.paste((0, 0, 0), box)
    assert changed.getbbox() is None


async def test_the_document_shows_the_boxes_and_the_mask_the_model_was_sent(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    form = {**FIELDS, "boxes": json.dumps(BOXES)}
    answer = await app_client.post(EDITS, data=form, files={"image": photograph(side=SIDE)})
    document = await job(app_client, answer.headers["x-darkroom-job"])

    assert document["request"]["boxes"] == BOXES
    assert document["request"]["mask"] == {"blob": f"requests/{document['id']}/mask"}
    stored = Storage(stack.blob, stack.table).read(f"requests/{document['id']}/mask")
    (call,) = model.calls()
    (sent,) = [file for file in call["files"] if file["field"] == "mask"]
    assert (sent["bytes"], sent["content_type"]) == (len(stored), "image/png")


async def test_a_box_outside_the_image_is_refused_before_anything_is_paid(
    app_client: httpx.AsyncClient, model: ModelControl
) -> None:
    outside = [{"x": 1000, "y": 0, "width": 100, "height": 100}]
    answer = await app_client.post(EDITS, json={**FIELDS, "image": PHOTOGRAPH, "boxes": outside})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "boxes[0].width")
    assert "1024x1024" in error["message"]
    assert model.calls() == []
