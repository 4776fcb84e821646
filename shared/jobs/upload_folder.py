"""One folder of container `uploads`: the files others dropped, and the two notes we leave beside them.

- `error.json` says what is wrong with what lies there; it goes when that is put right.
- `job.json` names the job that was made of the folder, and of which order: the folder's own memory, gone with it.

A note's facts are in its metadata, so that one listing tells everything about a folder that was looked at before.
Files are read under the ETag that was listed: a file that is rewritten meanwhile is a `FolderChanged`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.platform import strict_json
from shared.platform.folders import blob_failures

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import BlobServiceClient

CONTAINER = "uploads"
ERROR_NOTE = "error.json"
JOB_NOTE = "job.json"
NOTES = frozenset({ERROR_NOTE, JOB_NOTE})
MAX_FILES = 100
"""More than any edit needs (16 images, a mask, a request), and one page of a listing."""


class FolderChanged(Exception):  # noqa: N818 - a fact about the folder, not a failure
    """A file is not the one that was listed: rewritten since, or gone."""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file as it was listed. `metadata` has lower-case names; `modified` is aware, by storage's clock."""

    name: str
    etag: str
    bytes: int
    modified: datetime
    md5: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def fingerprint(self) -> str:
        """Cheap and good enough to tell two refused sets apart: storage's MD5, else the ETag."""
        return self.md5 or self.etag


class UploadFolder:
    """Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, blobs: BlobServiceClient, name: str) -> None:
        self.name = name
        self._container = blobs.get_container_client(CONTAINER)

    async def files(self) -> dict[str, UploadedFile]:
        """What lies in the folder itself, by name, notes included. Raises `invalid_value` above `MAX_FILES`."""
        from azure.storage.blob import BlobProperties

        prefix = f"{self.name}/"
        found: dict[str, UploadedFile] = {}
        with blob_failures():
            walk = self._container.walk_blobs(
                name_starts_with=prefix, include=["metadata"], delimiter="/", results_per_page=MAX_FILES + 1
            )
            async for item in walk:
                if not isinstance(item, BlobProperties) or item.name == prefix:
                    continue  # a folder in the folder
                if len(found) == MAX_FILES:
                    raise DarkroomError(
                        "invalid_value",
                        f"The folder holds more than {MAX_FILES} files; use one folder for each edit.",
                    )
                file = _listed(item, prefix)
                found[file.name] = file
        return found

    async def etag_of(self, name: str) -> str | None:
        """The ETag of a file by its name, for a folder too full to be listed; None when it is not there."""
        from azure.core.exceptions import ResourceNotFoundError

        with blob_failures():
            try:
                found = await self._container.get_blob_client(self._path(name)).get_blob_properties()
            except ResourceNotFoundError:
                return None
        return str(found.etag).strip('"')

    async def read(self, file: UploadedFile) -> bytes:
        """The whole of a small file, as it was listed."""
        return b"".join([chunk async for chunk in self.stream(file)])

    async def stream(self, file: UploadedFile) -> AsyncIterator[bytes]:
        """The bytes of a file as it was listed, a piece at a time."""
        from azure.core import MatchConditions

        with _unchanged():
            download = await self._container.download_blob(
                self._path(file.name), etag=file.etag, match_condition=MatchConditions.IfNotModified
            )
            async for chunk in download.chunks():
                yield chunk

    async def leave(
        self, note: str, body: Mapping[str, Any], facts: Mapping[str, str], *, instead_of: str | None
    ) -> str:
        """Write a note in the place of the one with the ETag `instead_of` (None: of none) and return its own ETag.

        Raises `FolderChanged` when another stands there.
        """
        from azure.core import MatchConditions
        from azure.storage.blob import ContentSettings

        condition = (
            {"etag": instead_of, "match_condition": MatchConditions.IfNotModified, "overwrite": True}
            if instead_of
            else {"overwrite": False}
        )
        with _unchanged():
            written = await self._container.get_blob_client(self._path(note)).upload_blob(
                strict_json.encode(body, indented=True),
                metadata=dict(facts),
                content_settings=ContentSettings(content_type="application/json"),
                **condition,
            )
        return str(written["etag"]).strip('"')

    async def remove(self, note: UploadedFile) -> None:
        """Take away a note as it was listed; one that was rewritten since stays."""
        from azure.core import MatchConditions

        try:
            with _unchanged():
                await self._container.delete_blob(
                    self._path(note.name), etag=note.etag, match_condition=MatchConditions.IfNotModified
                )
        except FolderChanged:
            return

    def _path(self, name: str) -> str:
        return f"{self.name}/{name}"


def _listed(item: BlobProperties, prefix: str) -> UploadedFile:
    md5 = item.content_settings.content_md5
    return UploadedFile(
        name=str(item.name).removeprefix(prefix),
        etag=str(item.etag).strip('"'),
        bytes=int(item.size or 0),
        modified=item.last_modified,
        md5=base64.b64encode(md5).decode() if md5 else None,
        metadata={name.lower(): value for name, value in (item.metadata or {}).items()},
    )


@contextmanager
def _unchanged() -> Iterator[None]:
    """A condition that failed, alone or because the file is gone, as `FolderChanged`."""
    from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

    with blob_failures():
        try:
            yield
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
            raise FolderChanged from error
