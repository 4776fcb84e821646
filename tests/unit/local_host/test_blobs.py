"""Blob triggers: from a write to storage to the run of a function in a real worker."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import ContainerClient

from tests.support.waiting import eventually

KEY = "test-key"


@pytest.fixture
async def drops(azurite_environment) -> AsyncIterator[ContainerClient]:
    """The container that the app `blobs` watches."""
    async with (
        ManagedIdentityCredential() as credential,
        ContainerClient(azurite_environment.blob, "drops", credential=credential) as client,
    ):
        await client.create_container()
        yield client


@pytest.fixture
def start(start_host, azurite_environment, drops, tmp_path: Path):
    """Starts hosts in front of the app `blobs` that keep their state in one place."""

    def start(**options: Any):
        environment = {"LOCAL_HOST_STATE_DIR": str(tmp_path / "state"), "MARKS": str(tmp_path)}
        host = start_host("blobs", **{**azurite_environment.environment, **environment, **options})
        assert host.url
        return host

    return start


def admin(host, method: str, path: str, body: object = None, key: str = KEY) -> httpx.Response:
    return httpx.request(
        method, f"{host.url}/admin/{path}", json=body, headers={"x-functions-key": key}, trust_env=False
    )


def control(host, method: str, body: object = None) -> httpx.Response:
    return admin(host, method, "_local/blob-events", body)


async def test_a_dropped_blob_runs_its_function_with_a_reference(start, drops: ContainerClient) -> None:
    host = start()
    await drops.upload_blob("a b/ü.png", b"x" * 100_000, metadata={"prompt": "fox"})

    given = json.loads(host.hears(r"dropped a b/ü.png in \d+ (\{.*\})")[1])

    assert (given["type"], given["version"], given["source"]) == ("model_binding_data", "1.0", "AzureStorageBlobs")
    assert given["content"] == {"Connection": "STORAGE", "ContainerName": "drops", "BlobName": "a b/ü.png"}
    metadata = given["metadata"]
    assert metadata["BlobTrigger"] == "drops/a b/ü.png"
    assert metadata["Uri"] == drops.get_blob_client("a b/ü.png").url
    assert (metadata["folder"], metadata["file"]) == ("a b", "ü.png")
    assert metadata["Metadata"] == {"prompt": "fox"}
    assert metadata["Properties"]["ContentLength"] == 100_000
    assert "xxxx" not in "".join(host.lines)


async def test_the_webhook_of_blobs_queues_what_it_is_told(start, drops: ContainerClient) -> None:
    host = start(LOCAL_HOST_STATE_DIR="")
    assert control(host, "PUT", {"hold": True}).status_code == 200
    await drops.upload_blob("one/a.png", b"a")

    def deliver(body: object, function: str = "dropped", *, key: str = KEY, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{host.url}/runtime/webhooks/blobs?functionName=Host.Functions.{function}&code={key}",
            json=body,
            headers={
                "aeg-event-type": "Notification",
                **{name.replace("_", "-"): text for name, text in headers.items()},
            },
            trust_env=False,
        )

    def event(name: str, **changes: object) -> dict[str, object]:
        data = {"eTag": "0x1", "blobType": "BlockBlob", "url": drops.get_blob_client(name).url}
        return {"id": "1", "eventType": "Microsoft.Storage.BlobCreated", "data": data, **changes}

    assert deliver([event("one/a.png")], key="wrong").status_code == 401
    validation = [{"data": {"validationCode": "512d38b6"}}]
    answer = deliver(validation, aeg_event_type="SubscriptionValidation")
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "512d38b6"})

    assert deliver([event("one/a.png")], function="absent").status_code == 202
    host.hears("Blob 'one/a.png' is skipped: there is no function 'Host.Functions.absent'")
    assert deliver([event("one/gone.png")]).status_code == 202
    host.hears("Blob 'one/gone.png' is skipped: it is gone")
    assert deliver([{"id": "1", "data": {}}]).status_code == 500
    assert not any("dropped one" in line for line in host.lines)

    assert deliver([event("one/a.png")]).status_code == 202
    host.hears("done with one/a.png")
    assert deliver(event("one/a.png", specversion="1.0", type="Microsoft.Storage.BlobCreated")).status_code == 202
    host.hears("done with one/a.png", times=2)

    assert admin(host, "POST", "functions/dropped", {"input": "drops/one/a.png"}).status_code == 202
    host.hears("done with one/a.png", times=3)


async def test_events_are_held_and_doubled_when_asked(start, drops: ContainerClient) -> None:
    host = start()
    asked = {"duplicate": 1, "delay_seconds": [0, 0.05], "shuffle": True, "hold": True, "seed": 7}
    answer = control(host, "PUT", asked)
    assert answer.json() == {
        "behaviour": asked, "seen": 0, "delivered": 0, "duplicates": 0, "failed": 0, "waiting": 0, "held": 0
    }  # fmt: skip
    await drops.upload_blob("set/a.png", b"a")
    await drops.upload_blob("set/b.png", b"b")
    held = await eventually(lambda: (now := control(host, "GET").json())["held"] == 4 and now)
    assert (held["seen"], held["waiting"], held["delivered"]) == (2, 4, 0)

    assert control(host, "PUT", {"duplicate": 1}).json()["behaviour"]["hold"] is False
    host.hears("done with set/a.png", times=2)
    host.hears("done with set/b.png", times=2)
    done = await eventually(lambda: (now := control(host, "GET").json())["waiting"] == 0 and now)
    assert (done["delivered"], done["duplicates"], done["waiting"], done["held"]) == (4, 2, 0, 0)

    reset = control(host, "DELETE").json()
    assert (reset["behaviour"]["duplicate"], reset["seen"], reset["delivered"]) == (0, 0, 0)
    refused = control(host, "PUT", {"twice": True})
    assert refused.status_code == 400
    assert "unknown members: twice" in refused.json()["error"]
    assert admin(host, "GET", "_local/blob-events", key="wrong").status_code == 401
    assert control(host, "POST").status_code == 405


async def test_a_blob_whose_worker_was_killed_runs_again(start, drops: ContainerClient) -> None:
    host = start()
    await drops.upload_blob("risky/a.png", b"a")
    first = host.hears(r"dropped risky/a\.png in (\d+)")[1]
    host.hears(r"worker 1 \(process \d+\) ended with code -9")
    host.hears("done with risky/a.png")
    assert host.hears(r"dropped risky/a\.png in (\d+)", times=2)[1] != first


async def test_a_blob_that_fails_leaves_its_record_in_the_poison_queue(start, drops: ContainerClient) -> None:
    host = start()
    await drops.upload_blob("bad/a.png", b"a")

    record = json.loads(host.hears(r"poisoned (\{.*\})")[1])

    etag = (await drops.get_blob_client("bad/a.png").get_blob_properties()).etag
    assert record == {
        "Type": "BlobTrigger",
        "FunctionId": "Host.Functions.dropped",
        "BlobType": "BlockBlob",
        "ContainerName": "drops",
        "BlobName": "bad/a.png",
        "ETag": f'"{etag.strip(chr(34))}"',
    }
    assert sum("dropped bad/a.png" in line for line in host.lines) == 2


async def test_a_restart_forgets_no_upload_and_repeats_none(start, drops: ContainerClient) -> None:
    await drops.upload_blob("set/before.png", b"old")
    first = start()
    await drops.upload_blob("set/one.png", b"1")
    first.hears("done with set/one.png")
    await eventually(lambda: control(first, "GET").json()["waiting"] == 0)
    control(first, "PUT", {"hold": True})
    await drops.upload_blob("set/held.png", b"h")
    await eventually(lambda: control(first, "GET").json()["held"] == 1)
    assert first.terminate() == 0
    await drops.upload_blob("set/meanwhile.png", b"m")

    second = start()
    second.hears("done with set/held.png")
    second.hears("done with set/meanwhile.png")
    await drops.upload_blob("set/one.png", b"another", overwrite=True)
    second.hears("done with set/one.png")

    assert control(second, "GET").json()["seen"] == 3
    assert not any("before.png" in line for line in (*first.lines, *second.lines))
