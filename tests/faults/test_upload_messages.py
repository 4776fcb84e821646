"""Announcements of uploads: what the blob trigger and the three queue functions make of what they are given."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from azurefunctions.extensions.base import Datum

from functions import uploads as door
from functions.blob_reference import BlobReference, BlobReferenceConverter
from shared.errors import DarkroomError
from shared.jobs.store import JobStore
from shared.jobs.upload_folder import UploadFolder
from shared.jobs.uploads import UploadQueue
from shared.pipeline import uploads
from shared.platform.telemetry import UnexpectedError
from tests.support.app_in_process import App
from tests.support.dropping import Folder

Announced = list[tuple[str, float, int]]


@pytest.fixture
def announced(app: App, monkeypatch: pytest.MonkeyPatch) -> Announced:
    """Folder, delay and tries of each message for `image-uploads`."""
    sent: Announced = []

    async def announce(_: Any, folder: str, *, delay: float = 0.0, tries: int = 0) -> None:
        sent.append((folder, delay, tries))

    monkeypatch.setattr(UploadQueue, "announce", announce)
    return sent


async def call(function: Any, body: Any, *, encoded: bool = False) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = func.QueueMessage(id="m1", body=base64.b64encode(text) if encoded else text)
    await function._function.get_user_function()(message)


def reference(name: str) -> BlobReference:
    content = {"Connection": "STORAGE", "ContainerName": "uploads", "BlobName": name}
    value = SimpleNamespace(version="1.0", source="AzureStorageBlobs", content=json.dumps(content))
    decoded = BlobReferenceConverter.decode(Datum(value, "model_binding_data"), trigger_metadata={})
    assert isinstance(decoded, BlobReference)
    return decoded


@pytest.mark.parametrize(
    ("blob", "folder"),
    [
        ("order 1017/image.png", "order 1017"),
        ("2026/11/order 1017/größe?.json", "2026/11/order 1017"),
        ("order 1017/error.json", None),
        ("order 1017/job.json", None),
        ("image.png", None),
        ("order 1017/", None),
    ],
)
async def test_a_blob_event_only_puts_the_blobs_folder_into_the_queue(
    app: App, announced: Announced, blob: str, folder: str | None
) -> None:
    await door.announce_upload._function.get_user_function()(reference(blob))

    assert announced == ([(folder, 0.0, 0)] if folder else [])
    assert app.storage.blobs("uploads") == []


def test_a_body_in_the_place_of_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="takes a reference"):
        BlobReferenceConverter.decode(Datum(b"\x89PNG", "bytes"), trigger_metadata={})


@pytest.mark.parametrize("encoded", [False, True])
async def test_an_event_that_the_platform_gave_up_is_announced_again_after_minutes(
    announced: Announced, encoded: bool
) -> None:
    record = {
        "Type": "BlobTrigger",
        "FunctionId": "Host.Functions.announce_upload",
        "BlobType": "BlockBlob",
        "ContainerName": "uploads",
        "BlobName": "order 1017/image.png",
        "ETag": '"0x8D"',
    }
    await call(door.repeat_announcement, record, encoded=encoded)
    await call(door.repeat_announcement, {**record, "ContainerName": "elsewhere"})

    assert announced == [("order 1017", 300.0, 0)]


def event(name: str, url: str, kind: str = "Microsoft.Storage.BlobCreated") -> dict[str, Any]:
    """As Event Grid puts it into a queue (learn.microsoft.com/azure/event-grid/event-schema-blob-storage)."""
    return {
        "topic": "/subscriptions/1/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": f"/blobServices/default/containers/{name}",
        "eventType": kind,
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {"api": "PutBlob", "contentType": "image/png", "blobType": "BlockBlob", "url": url},
        "dataVersion": "",
        "metadataVersion": "1",
        "eventTime": "2026-11-22T10:00:00.1234567Z",
    }


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("function", [door.look_at_upload, door.repeat_upload])
async def test_an_event_that_event_grid_puts_into_the_queue_has_its_folder_looked_at(
    app: App, announced: Announced, function: Any, encoded: bool
) -> None:
    url = "https://a.blob.core.windows.net/uploads/order%201017/gr%C3%B6%C3%9Fe.png"
    await call(function, event("uploads/blobs/order 1017/größe.png", url), encoded=encoded)

    assert [folder for folder, _, _ in announced] == ["order 1017"]
    assert app.storage.blobs("uploads") == []


async def test_an_event_whose_name_can_be_read_in_two_ways_has_both_folders_looked_at(announced: Announced) -> None:
    url = "https://a.blob.core.windows.net/uploads/order%201017/a.png"
    await call(door.look_at_upload, event("uploads/blobs/order%201017/a.png", url))

    assert sorted(folder for folder, _, _ in announced) == ["order 1017", "order%201017"]


@pytest.mark.parametrize(
    "message",
    [
        event("uploads/blobs/order/error.json", "https://a.blob.core.windows.net/uploads/order/error.json"),
        event("results/blobs/order/a.png", "https://a.blob.core.windows.net/results/order/a.png"),
        event("uploads/blobs/order/a.png", "https://a.b/uploads/order/a.png", "Microsoft.Storage.BlobDeleted"),
        {**event("", ""), "subject": None, "data": None},
        {**event("", ""), "subject": 7, "data": {"url": 7}},
    ],
)
async def test_events_of_our_own_notes_and_of_other_things_are_passed_over(
    announced: Announced, message: dict[str, Any]
) -> None:
    await call(door.look_at_upload, message)

    assert announced == []


async def test_a_folder_that_could_not_be_looked_at_is_tried_ever_later_and_for_a_day(announced: Announced) -> None:
    await call(door.repeat_upload, {"folder": "order 1017"})
    while announced[-1][2] <= 30:
        await call(door.repeat_upload, {"folder": "order 1017", "tries": announced[-1][2]})
    delays = [delay for _, delay, _ in announced]

    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (160.0, 3600.0)
    assert 20 * 3600 < sum(delays) < 30 * 3600


async def test_after_that_day_the_folder_says_so_and_so_does_an_event(app: App, announced: Announced) -> None:
    folder = Folder(app.storage, "order 1017")
    folder.drop("request.json", b"{")
    await call(door.repeat_upload, {"folder": folder.name, "tries": 31})
    await call(door.repeat_upload, {"folder": folder.name, "tries": 31})
    failed = [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")]
    error = folder.error()

    assert announced == []
    assert error is not None
    assert error["code"] == "undeliverable"
    assert [row["status"] for row in failed] == ["failed"]


async def test_a_folder_whose_note_cannot_be_written_at_last_is_not_tried_for_ever(
    app: App, announced: Announced, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise DarkroomError("storage_unavailable", "away")

    monkeypatch.setattr(UploadFolder, "leave", away)
    await call(door.repeat_upload, {"folder": "order 1017", "tries": 31})

    assert announced == []
    assert [row["status"] for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")] == ["failed"]


async def test_the_event_of_a_folder_given_up_is_not_lost_while_tables_are_out(
    app: App, announced: Announced, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise DarkroomError("storage_unavailable", "away")

    monkeypatch.setattr(JobStore, "create", away)
    with pytest.raises(UnexpectedError, match="storage_unavailable"):
        await call(door.repeat_upload, {"folder": "order 1017", "tries": 31})


@pytest.mark.parametrize("function", [door.look_at_upload, door.repeat_upload, door.repeat_announcement])
@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"\xff", b"{}", {"folder": 7}, {"folder": "x", "tries": "y"}])
async def test_a_message_that_names_nothing_is_dropped(
    app: App, announced: Announced, function: Any, body: Any
) -> None:
    await call(function, body)

    assert announced == []
    assert app.storage.rows("jobs") == []


@pytest.mark.parametrize("code", ["storage_unavailable", "misconfigured"])
async def test_what_is_not_the_folders_fault_brings_the_message_back(
    app: App, announced: Announced, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    async def fails(*_: Any) -> Any:
        raise DarkroomError(code, "away")

    folder = Folder(app.storage, "order 1017")
    folder.drop("request.json", b"{}")
    monkeypatch.setattr(uploads, "read_order", fails)
    with pytest.raises(UnexpectedError, match=code):
        await call(door.look_at_upload, {"folder": folder.name})

    assert folder.files() == ["request.json"]
    assert app.storage.rows("jobs") == []
