"""The official openai package, pointed at the server over a real connection."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from tests.unit.local_model.support import mask, opened, png, token

Client = openai.AsyncOpenAI


@pytest.fixture(params=["azure-key", "azure-token", "v1"])
async def official(request: pytest.FixtureRequest, port_url: str) -> AsyncIterator[Client]:
    async with _client(request.param, port_url) as client:
        yield client


def _client(kind: str, port_url: str) -> Client:
    if kind == "v1":
        return openai.AsyncOpenAI(base_url=f"{port_url}/openai/v1/", api_key="k", max_retries=0)
    credential = {"api_key": "k"} if kind == "azure-key" else {"azure_ad_token": token()}
    return openai.AsyncAzureOpenAI(
        azure_endpoint=port_url, api_version="2025-04-01-preview", max_retries=0, **credential
    )


async def test_it_generates(official: Client) -> None:
    answer = await official.images.generate(model="gpt-image-1", prompt="a boat", quality="low", n=2)
    assert answer.data is not None
    assert answer.usage is not None
    assert [opened(base64.b64decode(image.b64_json or "")).size for image in answer.data] == [(1024, 1024)] * 2
    assert answer.usage.output_tokens == 544
    assert (answer.quality, answer.background, answer.output_format) == ("low", "opaque", "png")


async def test_it_edits_one_image_sixteen_and_with_a_mask(official: Client) -> None:
    source = ("photo.png", png(64, 64), "image/png")
    hole = ("mask.png", mask(64, 64, (8, 8, 40, 40)), "image/png")
    one = await official.images.edit(model="gpt-image-1", prompt="a cat", image=source, quality="low")
    sixteen = await official.images.edit(model="gpt-image-1", prompt="a cat", image=[source] * 16, quality="low")
    masked = await official.images.edit(model="gpt-image-1", prompt="a cat", image=source, mask=hole, quality="low")
    tokens = [answer.usage.input_tokens_details.image_tokens for answer in (one, sixteen, masked) if answer.usage]
    assert tokens == [194, 16 * 194, 194]


async def test_it_streams_partial_images(official: Client) -> None:
    stream = await official.images.generate(
        model="gpt-image-1", prompt="a boat", quality="low", stream=True, partial_images=2
    )
    names = [event.type async for event in stream]
    assert names == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


async def test_it_raises_the_services_errors(official: Client) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await official.images.generate(model="gpt-image-1", prompt="a boat", size="512x512")
    with pytest.raises(openai.BadRequestError) as blocked:
        await official.images.generate(model="gpt-image-1", prompt="[[moderation_blocked]]")
    assert (refused.value.code, refused.value.param, blocked.value.code) == (
        "invalid_value",
        "size",
        "moderation_blocked",
    )


async def test_it_raises_an_error_from_the_middle_of_a_stream(official: Client) -> None:
    async with httpx.AsyncClient() as control:
        url = str(official.base_url).partition("/openai")[0]
        await control.put(f"{url}/_local/behaviour", json={"faults": [{"stream_error": "server_error"}]})
    stream = await official.images.generate(model="gpt-image-1", prompt="a boat", quality="low", stream=True)
    with pytest.raises(openai.APIError, match="The server had an error"):
        [event async for event in stream]


async def test_it_waits_as_told_by_a_429_and_tries_again(port_url: str) -> None:
    retrying = openai.AsyncOpenAI(base_url=f"{port_url}/openai/v1/", api_key="k", max_retries=1)
    async with retrying as client, httpx.AsyncClient(base_url=port_url) as control:
        fault = {"name": "rate_limited", "retry_after_seconds": 0.01}
        await control.put("/_local/behaviour", json={"faults": [fault]})
        await client.images.generate(model="gpt-image-1", prompt="a boat", quality="low")
        calls = (await control.get("/_local/calls")).json()
    assert [call["status"] for call in calls] == [429, 200]
    assert calls[1]["headers"]["x-stainless-retry-count"] == "1"
