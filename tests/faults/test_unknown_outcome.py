"""Verdict "outcome unknown": sent, and no whole answer came back. It may have been paid for, so it is not asked for
again unless the operator chose so; what arrived whole is kept and reported, and nothing half-written is left."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from local.certificates import Certificates
from shared.errors import DarkroomError
from shared.model import client as model_client
from shared.model.decode import decode_images
from shared.platform.blobs import BlobClient
from tests.support.app_in_process import App, deployment

Configure = Callable[..., None]


async def expect_unknown(app: App, *inner: str, n: int = 1) -> dict[str, Any]:
    """Run a job whose faults are set and hold it against the verdict; its document."""
    job = await app.run(n=n)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["status"]) == ("outcome_unknown", 502)
    assert job.error["inner_error"]["code"] in inner
    calls = len(app.model.calls())
    assert (await app.deliver(job.id)).status == "failed"
    assert len(app.model.calls()) == calls, "it was asked for again"
    assert (job.attempts, app.storage.outcomes(job.id)) == (1, ["unknown"])
    document = await app.document(job.id)
    assert Decimal(document["cost"]["possibly_billed"]) > 0
    assert document["cost"]["amount"] is None
    assert app.storage.ledger(job.id)[0]["possibly_billed"] == document["cost"]["possibly_billed"]
    return document


FAULTS = [
    ({"name": "bad_gateway"}, "no_answer"),
    ({"name": "gateway_timeout"}, "no_answer"),
    ({"status": 500, "body": "<h1>It broke</h1>"}, "no_answer"),
    ({"status": 599}, "no_answer"),
    ({"status": 302, "headers": {"location": "https://elsewhere.example/"}}, "no_answer"),
    ({"cut_before_response": True}, "no_answer"),
    ({"cut_before_response": True, "reset": True}, "no_answer"),
    ({"cut_after_bytes": 0}, "response_cut"),
    ({"cut_after_bytes": 10}, "response_cut"),
    ({"cut_after_bytes": 70}, "response_cut"),
    ({"cut_after_bytes": 50_000}, "response_cut"),
    ({"cut_after_bytes": 50_000, "reset": True}, "response_cut"),
    ({"truncated_json": True}, "response_cut"),
    ({"status": 200, "body": '{"data": [}]}'}, "response_not_json"),
    ({"broken_base64": True}, "response_broken_base64"),
    ({"null_b64": True}, "response_without_images"),
    ({"missing_b64": True}, "response_without_images"),
    ({"url_instead": True}, "response_without_images"),
    ({"image_bytes_b64": "R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="}, "response_not_an_image"),
    ({"status": 200, "body": "<html>Sign in to the network</html>"}, "response_not_json"),
    ({"status": 200, "body": []}, "response_not_json"),
    ({"status": 200, "body": {"created": 1}}, "response_without_images"),
    ({"status": 200, "body": {"data": []}}, "response_without_images"),
    ({"status": 200, "body": {"error": {"code": "500", "message": "An error."}}}, "response_without_images"),
]


@pytest.mark.parametrize(
    ("fault", "inner"),
    FAULTS,
    ids=[json.dumps({k: v for k, v in fault.items() if k != "image_bytes_b64"}) for fault, _ in FAULTS],
)
async def test_a_broken_answer_ends_the_job_and_is_never_asked_for_again(
    app: App, fault: dict[str, Any], inner: str
) -> None:
    app.model.fail(fault)
    document = await expect_unknown(app, inner)
    assert len(app.model.calls()) == 1
    assert document["images"] == []
    assert app.storage.results_of(document["id"]) == []
    assert app.storage.requests_of(document["id"]) == ["request.json", "result.json"]


@pytest.mark.parametrize("transfer", ["content-length", "chunked"])
async def test_a_cut_answer_is_noticed_however_it_is_framed(app: App, transfer: str) -> None:
    app.model.behave(transfer=transfer, faults=[{"cut_after_bytes": 90_000}])
    document = await expect_unknown(app, "response_cut")
    assert app.storage.results_of(document["id"]) == []


async def test_images_that_arrived_whole_before_the_cut_are_kept_and_reported(app: App) -> None:
    whole = len((await first_answer(app, n=3))["data"][0]["b64_json"])
    app.model.forget()
    app.model.fail({"cut_after_bytes": whole + whole // 2})
    document = await expect_unknown(app, "response_cut", n=3)
    assert [image["index"] for image in document["images"]] == [0]
    assert app.storage.results_of(document["id"]) == ["0.json", "0.png"]
    image = document["images"][0]
    assert image["sha256"] == app.model.calls()[0]["images"][0]["sha256"]
    assert len(app.storage.read(image["blob"])) == image["bytes"]
    sidecar = json.loads(app.storage.read(image["blob"].replace(".png", ".json")))
    assert sidecar["cost"] == document["cost"]


async def test_an_image_stored_before_the_json_broke_is_kept_and_reported(app: App) -> None:
    app.model.fail({"broken_json": True})
    # A brace too few: the text ends before the document does, which cannot be told from a cut.
    document = await expect_unknown(app, "response_cut")
    assert [image["index"] for image in document["images"]] == [0]
    assert app.storage.results_of(document["id"]) == ["0.json", "0.png"]


async def first_answer(app: App, **fields: Any) -> dict[str, Any]:
    """A whole answer to the request that follows: the server draws the same picture for the same prompt."""
    import httpx

    from local.identity import make_token

    url = f"{app.model.url}/openai/deployments/gpt-image-1/images/generations?api-version=2025-04-01-preview"
    headers = {"authorization": f"Bearer {make_token('https://cognitiveservices.azure.com')}"}
    async with httpx.AsyncClient(timeout=30) as client:
        body = {"prompt": "a lighthouse", "quality": "low", "size": "1024x1024", **fields}
        answer: dict[str, Any] = (await client.post(url, json=body, headers=headers)).json()
        return answer


async def test_an_image_over_the_cap_is_refused_and_the_one_before_it_kept(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_client, "decode_images", partial(decode_images, max_image_bytes=1_000_000))
    app.model.fail({"oversize_image_mb": 1.2})
    document = await expect_unknown(app, "image_over_cap")
    assert app.storage.results_of(document["id"]) == []


async def test_more_images_than_the_api_knows_are_refused(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_client, "decode_images", partial(decode_images, max_images=1))
    document = await expect_unknown(app, "response_too_large", n=2)
    assert [image["index"] for image in document["images"]] == [0]


async def test_silence_ends_in_an_unknown_outcome_before_the_answer_and_in_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_client, "CALL_TIMEOUT_SECONDS", 1.0)
    app.model.fail({"hang_seconds": 20})
    await expect_unknown(app, "no_answer")
    app.model.forget()
    app.model.fail({"hang_seconds": 20, "hang_after_bytes": 5_000})
    await expect_unknown(app, "response_cut", "no_answer")


async def test_an_answer_that_says_text_plain_is_read_all_the_same(app: App) -> None:
    app.model.fail({"text_plain": True})
    assert (await app.run()).status == "succeeded"


async def test_an_answer_without_usage_is_stored_and_its_cost_not_invented(app: App) -> None:
    app.model.fail({"no_usage": True})
    job = await app.run()
    document = await app.document(job.id)
    assert job.status == "succeeded"
    assert (document["usage"], document["cost"]["amount"]) == (None, None)


async def test_fewer_images_than_asked_for_are_kept(app: App) -> None:
    app.model.fail({"fewer_images": True})
    job = await app.run(n=2)
    assert job.status == "succeeded"
    assert len((await app.document(job.id))["images"]) == 1


@asynccontextmanager
async def raw_server(certificates: Certificates, answer: bytes) -> AsyncIterator[str]:
    """An HTTPS server that reads a request and writes exactly `answer`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.cert, certificates.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


ANSWER = b'{"created":1,"data":[{"b64_json":"iVBORw0KGgo="}]}'


@pytest.mark.parametrize(
    ("answer", "inner"),
    [
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(ANSWER),
            "response_not_json",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + ANSWER, "response_cut"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n" + ANSWER, "no_answer"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + ANSWER[:20], "response_cut"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", "no_answer"),
        (b"", "no_answer"),
    ],
    ids=["gzip", "shorter-than-declared", "broken-chunk", "until-close", "no-http", "huge-header", "nothing"],
)
async def test_what_is_no_proper_answer_on_the_wire_has_a_name(
    app: App, configure: Configure, certificates: Certificates, answer: bytes, inner: str
) -> None:
    async with raw_server(certificates, answer) as url:
        configure([deployment(url)])
        document = await expect_unknown(app, inner)
    assert app.storage.results_of(document["id"]) == []


async def test_the_operator_may_choose_to_pay_again(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="always")
    app.model.fail({"cut_after_bytes": 50_000})
    job = await app.run()
    assert (job.status, job.attempts) == ("succeeded", 2)
    assert len(app.model.calls()) == 2
    assert app.storage.outcomes(job.id) == ["unknown", "billed"]
    assert app.storage.results_of(job.id) == ["0.2.json", "0.2.png"]


async def test_even_then_there_is_an_end_to_paying(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="always")
    app.model.fail({"cut_after_bytes": 50_000, "times": 10})
    job = await app.run()
    assert job.status == "failed"
    assert len(app.model.calls()) == 3
    assert app.storage.outcomes(job.id) == ["unknown"] * 3


async def test_images_kept_of_a_first_answer_do_not_stand_in_the_way_of_a_second(
    app: App, configure: Configure
) -> None:
    whole = len((await first_answer(app, n=2))["data"][0]["b64_json"])
    app.model.forget()
    configure([deployment(app.model.url)], RETRY_UNKNOWN_OUTCOME="always")
    app.model.fail({"cut_after_bytes": whole + whole // 2})
    job = await app.run(n=2)
    assert job.status == "succeeded"
    document = await app.document(job.id)
    assert app.storage.results_of(job.id) == ["0.2.json", "0.2.png", "0.png", "1.2.json", "1.2.png"]
    for image in document["images"]:
        assert image["sha256"] == app.model.calls()[1]["images"][image["index"]]["sha256"]


async def test_storage_that_fails_while_the_answer_arrives_is_not_booked_as_a_refusal(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = BlobClient.put

    async def full(self: BlobClient, name: str, *args: Any, **kwargs: Any) -> None:
        if name.startswith("results/"):
            raise DarkroomError("storage_unavailable", "Blob Storage is full.")
        await put(self, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(BlobClient, "put", full)
        await expect_unknown(app, "storage_unavailable", n=3)
    assert len(app.model.calls()) == 1
