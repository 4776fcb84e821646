"""Folders of container `uploads`: who asked for one, and the queue of those to be looked at.

`POST /api/uploads` hands out links into a folder of a new id; whoever asked for them owns what becomes of it. Other
folders belong to nobody: their jobs' owner is `upload`.

Rows of table `jobs`, partition `uploads`: `f:<folder>` with `owner`. A folder's name is an id of `new_id`, so that rows
older than a time are a range, as jobs are: retention takes away the row and the blobs `uploads/<folder>/`.

Messages of queue `image-uploads`: `{"folder": "...", "tries": n}`, `tries` counting how often it came back as poison.
In a private network Event Grid, which cannot reach the app there, puts its own events into this queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from shared.jobs import queue as queues
from shared.jobs.job import is_id
from shared.jobs.rows import RowExists, Rows

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient
    from azure.storage.queue.aio import QueueClient

PARTITION = "uploads"
NOBODYS = "upload"
"""The owner of jobs whose folder nobody asked for."""
_PATH = "/uploads/"
_SUBJECT = "/blobServices/default/containers/uploads/blobs/"


class UploadOwners:
    def __init__(self, table: TableClient) -> None:
        self._rows = Rows(table)

    async def remember(self, folder: str, owner: str) -> None:
        """Note whose `folder` (a new id) is."""
        try:
            await self._rows.insert({"PartitionKey": PARTITION, "RowKey": row_key(folder), "owner": owner})
        except RowExists:
            return  # our own, whose answer was lost: the id is new

    async def asked_by(self, folder: str) -> str | None:
        """Who asked for links into `folder`; None for a folder that was not handed out."""
        found = await self._rows.get(PARTITION, row_key(folder)) if is_id(folder) else None
        return None if found is None else str(found[0]["owner"])

    async def owner_of(self, folder: str) -> str:
        """Whose the jobs of `folder` are."""
        return await self.asked_by(folder) or NOBODYS


class UploadQueue:
    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def announce(self, folder: str, *, delay: float = 0.0, tries: int = 0) -> None:
        """Have `folder` looked at, after `delay` seconds."""
        message: dict[str, Any] = {"folder": folder}
        await queues.send(self._queue, message | ({"tries": tries} if tries else {}), delay)


def folder_of(message: Mapping[str, Any]) -> tuple[str, int] | None:
    """Folder and tries of a message; None for one that is none of ours."""
    folder, tries = message.get("folder"), message.get("tries", 0)
    if not isinstance(folder, str) or not folder or not isinstance(tries, int):
        return None
    return folder, tries


def blobs_of(event: Mapping[str, Any]) -> set[str]:
    """What an Event Grid event (of its own schema) says was written in `uploads`, by name; nothing for another message.

    The subject has the name as it is and `data.url` has it escaped
    (https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage). Where they do not agree, both are meant:
    a folder that is not there is looked at for nothing, one that is passed over is lost.
    """
    if event.get("eventType") != "Microsoft.Storage.BlobCreated":
        return set()
    subject, data = event.get("subject"), event.get("data")
    url = data.get("url") if isinstance(data, dict) else None
    path = unquote(urlsplit(url).path) if isinstance(url, str) else ""
    found = {path.removeprefix(_PATH)} if path.startswith(_PATH) else set()
    if isinstance(subject, str) and subject.startswith(_SUBJECT):
        found.add(subject.removeprefix(_SUBJECT))
    return found


def row_key(folder: str) -> str:
    return f"f:{folder}"
