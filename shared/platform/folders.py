"""Folders of Blob Storage: all blobs whose names begin alike, removed together; and storage's failures by one name.

Who comes in: refused requests, purge and retention. Removing twice is as good as once. `blob_failures` is for every
room that asks the SDK's blob clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import DarkroomError

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_DELETES_AT_ONCE = 8


async def remove(blobs: BlobServiceClient, container: str, folder: str) -> int:
    """Delete every blob under `folder` (a path without `/` at its end) of `container`; how many there were.

    Raises `storage_unavailable`.
    """
    from azure.core.exceptions import ResourceNotFoundError

    if not folder.strip("/"):
        raise ValueError("the folder has no name")
    client = blobs.get_container_client(container)
    turn = asyncio.Semaphore(_DELETES_AT_ONCE)

    async def delete(name: str) -> None:
        async with turn:
            try:
                await client.delete_blob(name, delete_snapshots="include")
            except ResourceNotFoundError:
                return

    with blob_failures():
        names = [name async for name in client.list_blob_names(name_starts_with=f"{folder}/")]
        await asyncio.gather(*map(delete, names))
    return len(names)


@contextmanager
def blob_failures() -> Iterator[None]:
    """The SDK's failures as `storage_unavailable`; nothing of theirs, which may hold addresses, goes further."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise DarkroomError("storage_unavailable", f"Blob Storage failed ({type(error).__name__}).") from error
