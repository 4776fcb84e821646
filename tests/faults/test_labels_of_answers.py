"""What a paid answer is called by its content type never makes it be lost: it is passed on and stored as what it is."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from functions import images
from shared.jobs.job import Status
from tests.support.app_in_process import App
from tests.support.doors import body_of, call
from tests.support.signing import picture

REQUEST = {"prompt": "a lighthouse", "quality": "low"}
STREAM = {**REQUEST, "stream": True, "partial_images": 1}
PICTURE = picture()
IMAGE = base64.b64encode(PICTURE).decode()
DOCUMENT = json.dumps({"created": 7, "data": [{"b64_json": IMAGE}]}, indent=1)
EVENTS = "".join(
    f"event: image_generation.{kind}\ndata: {json.dumps({'type': f'image_generation.{kind}', **members})}\n\n"
    for kind, members in (
        ("partial_image", {"b64_json": IMAGE, "partial_image_index": 0}),
        ("completed", {"b64_json": IMAGE, "created_at": 7, "usage": {"total_tokens": 5}}),
    )
)


async def asked(app: App, fields: dict[str, Any], body: str, label: str) -> tuple[str, bytes]:
    """Content type and body that the caller is answered with; the job has succeeded, and its image is stored."""
    app.model.fail({"status": 200, "body": body, "headers": {"content-type": label}})
    headers = {"content-type": "application/json"}
    response = await call(images.image_generations_v1, json.dumps(fields).encode(), headers=headers)
    assert response.status_code == 200, response.body
    answered = await body_of(response)
    job = await app.ended(response.headers["x-darkroom-job"])
    assert job.status is Status.SUCCEEDED, job.error
    (stored,) = (await app.document(job.id))["images"]
    assert stored["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert app.storage.outcomes(job.id) == ["billed"]
    return response.headers["content-type"].partition(";")[0], answered


@pytest.mark.parametrize("label", ["text/plain", "", "application/json", "application/octet-stream"])
async def test_a_stream_passes_as_it_came_whatever_it_is_labelled(app: App, label: str) -> None:
    for body in (EVENTS, f"\ufeff: keep-alive\r\n\r\n{EVENTS}"):
        assert await asked(app, STREAM, body, label) == ("text/event-stream", body.encode())


@pytest.mark.parametrize("label", ["text/event-stream", "text/plain", ""])
async def test_a_document_passes_as_it_came_whatever_it_is_labelled(app: App, label: str) -> None:
    for body in (DOCUMENT, f"\ufeff\r\n{DOCUMENT}\n"):
        assert await asked(app, REQUEST, body, label) == ("application/json", body.encode())


@pytest.mark.parametrize("label", ["text/event-stream", "text/plain", "application/json"])
async def test_an_answer_of_the_other_kind_is_made_into_the_one_asked_for(app: App, label: str) -> None:
    kind, streamed = await asked(app, STREAM, DOCUMENT, label)
    assert kind == "text/event-stream"
    name, data = streamed.decode().strip().split("\n")
    assert name == "event: image_generation.completed"
    assert json.loads(data.removeprefix("data: "))["b64_json"] == IMAGE

    kind, document = await asked(app, REQUEST, EVENTS, label)
    assert kind == "application/json"
    assert [item["b64_json"] for item in json.loads(document)["data"]] == [IMAGE]
