"""Section 3 of the API reference, and everything that can happen to an answer on its way."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.unit.local_model.support import GENERATIONS, PROMPT, encoded, first_bytes, opened


async def put(client: httpx.AsyncClient, **behaviour: Any) -> None:
    answer = await client.put("/_local/behaviour", json=behaviour)
    assert answer.status_code == 200, answer.text


async def receive_chunks(client: httpx.AsyncClient, sizes: list[int], **options: Any) -> None:
    """Generate, and note the size of every chunk as it arrives."""
    async with client.stream("POST", GENERATIONS, json=PROMPT, **options) as answer:
        async for chunk in answer.aiter_raw():
            sizes.append(len(chunk))  # noqa: PERF401 - what came before an error is wanted


async def test_the_document_has_the_members_of_the_schema_and_annotations_by_knob(client: httpx.AsyncClient) -> None:
    answer = (await client.post(GENERATIONS, json={**PROMPT, "n": 2})).json()
    assert list(answer) == ["created", "background", "data", "output_format", "quality", "size", "usage"]
    assert [list(item) for item in answer["data"]] == [
        ["b64_json", "prompt_filter_results", "content_filter_results"]
    ] * 2
    assert answer["data"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    await put(client, annotations=False)
    plain = (await client.post(GENERATIONS, json=PROMPT)).json()
    assert [list(item) for item in plain["data"]] == [["b64_json"]]


async def test_the_same_request_gives_the_same_picture_and_each_index_its_own(client: httpx.AsyncClient) -> None:
    await put(client, unsigned=True)
    first, second = [(await client.post(GENERATIONS, json={**PROMPT, "n": 2})) for _ in range(2)]
    assert first_bytes(first, 0) == first_bytes(second, 0)
    assert first_bytes(first, 0) != first_bytes(first, 1)


@pytest.mark.parametrize("transfer", ["content-length", "chunked"])
@pytest.mark.parametrize("chunk_size", [1000, 65536, 10_000_000])
async def test_an_answer_is_the_same_however_it_is_framed(
    port_client: httpx.AsyncClient, transfer: str, chunk_size: int
) -> None:
    await put(port_client, transfer=transfer, chunk_size=chunk_size, unsigned=True)
    answer = await port_client.post(GENERATIONS, json=PROMPT)
    assert opened(first_bytes(answer)).size == (1024, 1024)
    assert ("content-length" in answer.headers) == (transfer == "content-length")


async def test_gzip_is_sent_to_those_who_take_it(client: httpx.AsyncClient) -> None:
    await put(client, gzip=True)
    squeezed = await client.post(GENERATIONS, json=PROMPT, headers={"accept-encoding": "gzip"})
    plain = await client.post(GENERATIONS, json=PROMPT, headers={"accept-encoding": "identity"})
    assert squeezed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert opened(first_bytes(squeezed)).tobytes() == opened(first_bytes(plain)).tobytes()
    assert gzip.compress(b"") != plain.content


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("transfer", ["content-length", "chunked"])
async def test_a_connection_is_cut_in_the_middle_of_a_body(
    port_client: httpx.AsyncClient, transfer: str, reset: bool
) -> None:
    await put(port_client, transfer=transfer, chunk_size=1000, faults=[{"cut_after_bytes": 2500, "reset": reset}])
    received: list[int] = []
    with pytest.raises(httpx.TransportError):
        await receive_chunks(port_client, received)
    [call] = (await port_client.get("/_local/calls?finished=1")).json()
    assert sum(received) <= 2500
    assert (call["outcome"], call["bytes_sent"], call["billed"]) == ("cut", 2500, True)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_is_cut_before_any_answer(port_client: httpx.AsyncClient, reset: bool) -> None:
    await put(port_client, faults=[{"cut_before_response": True, "reset": reset}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await port_client.post(GENERATIONS, json=PROMPT)
    [call] = (await port_client.get("/_local/calls?finished=1")).json()
    assert (call["status"], call["outcome"], call["billed"]) == (None, "cut", True)
    assert (await port_client.post(GENERATIONS, json=PROMPT)).status_code == 200


async def test_a_client_that_leaves_is_noted_and_the_work_is_still_billed(port_client: httpx.AsyncClient) -> None:
    await put(port_client, latency_seconds=0.4)
    with pytest.raises(httpx.ReadTimeout):
        await port_client.post(GENERATIONS, json=PROMPT, timeout=0.1)
    [call] = (await port_client.get("/_local/calls?finished=1")).json()
    assert (call["outcome"], call["client_left"], call["billed"], call["bytes_sent"]) == ("left", True, True, 0)


async def test_a_call_that_hangs_is_ended_by_the_clients_patience(port_client: httpx.AsyncClient) -> None:
    await put(port_client, faults=[{"hang_seconds": 60}])
    with pytest.raises(httpx.ReadTimeout):
        await port_client.post(GENERATIONS, json=PROMPT, timeout=0.2)
    [call] = (await port_client.get("/_local/calls?finished=1")).json()
    assert call["client_left"]


async def test_a_body_can_hang_after_some_bytes(port_client: httpx.AsyncClient) -> None:
    await put(port_client, faults=[{"hang_seconds": 60, "hang_after_bytes": 1000}])
    received: list[int] = []
    with pytest.raises(httpx.ReadTimeout):
        await receive_chunks(port_client, received, timeout=1)
    assert sum(received) == 1000


@pytest.mark.parametrize("fault", ["truncated_json", "broken_json"])
async def test_a_whole_transfer_can_carry_half_a_document(port_client: httpx.AsyncClient, fault: str) -> None:
    await put(port_client, faults=[{fault: True}])
    answer = await port_client.post(GENERATIONS, json=PROMPT)
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.content)


async def test_the_members_of_an_image_can_be_missing_null_or_broken(client: httpx.AsyncClient) -> None:
    names = ["null_b64", "missing_b64", "url_instead", "broken_base64", "no_usage", "fewer_images", "text_plain"]
    await put(client, faults=[{name: True} for name in names])
    answers = {name: await client.post(GENERATIONS, json={**PROMPT, "n": 2}) for name in names}
    data = {name: answer.json()["data"] for name, answer in answers.items()}
    assert [item["b64_json"] for item in data["null_b64"]] == [None, None]
    assert "b64_json" not in data["missing_b64"][0]
    assert data["url_instead"][0].keys() & {"url", "b64_json"} == {"url"}
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(data["broken_base64"][0]["b64_json"], validate=True)
    assert base64.b64decode(data["broken_base64"][1]["b64_json"], validate=True)
    assert "usage" not in answers["no_usage"].json()
    assert len(data["fewer_images"]) == 1
    assert answers["text_plain"].headers["content-type"] == "text/plain"


async def test_given_bytes_are_answered_as_they_are(client: httpx.AsyncClient) -> None:
    given = b"GIF89a not really"
    await put(client, faults=[{"image_bytes_b64": base64.b64encode(given).decode()}])
    assert first_bytes(await client.post(GENERATIONS, json=PROMPT)) == given


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_an_oversize_image_is_still_an_image(client: httpx.AsyncClient, output_format: str) -> None:
    await put(client, faults=[{"oversize_image_mb": 6}])
    content = first_bytes(await client.post(GENERATIONS, json={**PROMPT, "output_format": output_format}))
    assert 6 * 1024 * 1024 <= len(content) < 6.2 * 1024 * 1024
    assert opened(content).size == (1024, 1024)


async def test_headers_can_be_replaced_and_repeated(client: httpx.AsyncClient) -> None:
    fault = {"headers": {"x-ms-region": "nowhere"}, "duplicate_headers": {"apim-request-id": "again"}}
    await put(client, faults=[fault])
    answer = await client.post(GENERATIONS, json=PROMPT)
    assert answer.headers.get_list("x-ms-region") == ["nowhere"]
    assert answer.headers.get_list("apim-request-id")[1] == "again"


async def test_a_slow_body_arrives_at_the_speed_it_was_given(port_client: httpx.AsyncClient) -> None:
    small = base64.b64encode(encoded(Image.new("RGB", (8, 8)))).decode()
    await put(port_client, bytes_per_second=4000, chunk_size=200, faults=[{"image_bytes_b64": small}])
    chunks: list[int] = []
    await receive_chunks(port_client, chunks)
    assert len(chunks) > 3
    assert max(chunks) <= 400


async def test_a_client_that_leaves_in_the_middle_of_its_form_is_noted(port_url: str) -> None:
    url = httpx.URL(port_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    path = "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview"
    headers = ["Host: x", "api-key: k", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 5000"]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""])
    writer.write(head.encode() + b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhalf a prom')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    async with httpx.AsyncClient(base_url=port_url) as client:
        [call] = (await client.get("/_local/calls?finished=1")).json()
    assert (call["outcome"], call["billed"]) == ("left", False)
