"""Files dropped into container `uploads` by a program that knows nothing of Darkroom, and the notes it finds there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from tests.support.storage import Storage


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder `name` of container `uploads`."""

    storage: Storage
    name: str

    def drop(self, file: str, data: bytes | Mapping[str, Any], **metadata: str) -> None:
        """Write a file; a mapping is written as JSON."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self._container().upload_blob(f"{self.name}/{file}", body, metadata=metadata, overwrite=True)

    def take_away(self, file: str) -> None:
        self._container().delete_blob(f"{self.name}/{file}")

    def files(self) -> list[str]:
        prefix = f"{self.name}/"
        return sorted(str(item.name).removeprefix(prefix) for item in self._container().list_blobs(prefix))

    def note(self, file: str) -> dict[str, Any] | None:
        """What `error.json` or `job.json` says; None when there is none."""
        try:
            read = self._container().download_blob(f"{self.name}/{file}").readall()
        except ResourceNotFoundError:
            return None
        found: dict[str, Any] = json.loads(read)
        return found

    def error(self) -> dict[str, Any] | None:
        note = self.note("error.json")
        return note["error"] if note else None

    def job(self) -> str | None:
        note = self.note("job.json")
        return note["id"] if note else None

    def _container(self) -> ContainerClient:
        return self.storage.container("uploads")
