"""What the OpenAI client for .NET sends, by its sources, since .NET does not run here.

https://github.com/openai/openai-dotnet: `ImageClient` posts to `<endpoint>/images/generations` and `/edits` with
`Authorization: Bearer`. Edits are .NET's `MultipartFormDataContent`: its boundary is quoted, its names are not, text
parts say `text/plain; charset=utf-8` and file parts no type. Its `ClientRetryPolicy` repeats a 502, three times.
"""

from __future__ import annotations

import httpx
import pytest

from tests.support.model_control import ModelControl
from tests.support.photographs import mask, photograph

pytestmark = pytest.mark.usefixtures("small_images")
BOUNDARY = "=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz012345"
HEADERS = {
    "authorization": "Bearer unused",
    "user-agent": "OpenAI/2.5.0 (.NET 9.0.0; Linux)",
    "accept": "application/json",
}


def text_part(name: str, value: str) -> bytes:
    head = f"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name={name}"
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n".encode()


def file_part(name: str, filename: str, content: bytes) -> bytes:
    disposition = f"form-data; name={name}; filename={filename}; filename*=utf-8''{filename}"
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


async def test_a_generation(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    body = {"model": "gpt-image-1", "prompt": "A harbour", "quality": "low", "size": "1024x1024"}
    answer = await app_client.post("/openai/v1/images/generations", json=body, headers=HEADERS)

    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]
    assert model.calls()[0]["auth"] == "bearer"
    assert "unused" not in str(model.calls())


async def test_an_edit_with_a_mask(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    parts = [
        file_part("image", "photo.png", photograph()),
        text_part("prompt", "Ein Boot für Jürgen"),
        text_part("model", "gpt-image-1"),
        file_part("mask", "mask.png", mask()),
        text_part("n", "2"),
        text_part("quality", "low"),
        f"--{BOUNDARY}--\r\n".encode(),
    ]
    content_type = f'multipart/form-data; boundary="{BOUNDARY}"'

    answer = await app_client.post(
        "/openai/v1/images/edits", content=b"".join(parts), headers={**HEADERS, "content-type": content_type}
    )

    assert answer.status_code == 200, answer.text
    (call,) = model.calls()
    assert len(answer.json()["data"]) == 2
    assert call["parameters"]["prompt"] == "Ein Boot für Jürgen"
    assert [(file["field"], file["content_type"]) for file in call["files"]] == [
        ("image", "image/png"),
        ("mask", "image/png"),
    ]


async def test_a_second_try_with_the_key_of_the_first_is_no_second_call(
    app_client: httpx.AsyncClient, model: ModelControl
) -> None:
    model.fail({"cut_before_response": True})
    headers = {**HEADERS, "idempotency-key": "5f1f4f9e-6a3e-4c0e-9a54-0d9a0c7f2b11"}
    body = {"model": "gpt-image-1", "prompt": "A harbour", "quality": "low"}

    tries = [await app_client.post("/openai/v1/images/generations", json=body, headers=headers) for _ in range(4)]

    assert {answer.status_code for answer in tries} == {502}
    assert {answer.json()["error"]["code"] for answer in tries} == {"outcome_unknown"}
    assert len(model.calls()) == 1
