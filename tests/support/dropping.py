"""Files dropped into container `uploads` by a program that knows nothing of Darkroom, and the notes it finds there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from tests.support.app_in_process import App
from tests.support.pictures import good_mask, png
from tests.support.storage import Storage

REQUEST = {"prompt": "a lighthouse", "quality": "low", "mask": "mask.png", "metadata": {"order": "1017"}}
FILES: dict[str, Any] = {"image.png": png(), "mask.png": good_mask(), "request.json": REQUEST}


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


def jobs(app: App) -> list[dict[str, Any]]:
    """The rows of all jobs."""
    return [row for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")]


def drop(folder: Folder, *names: str) -> None:
    """Drop those of `FILES` that are named, or all."""
    for name in names or FILES:
        folder.drop(name, FILES[name])
