"""The images of one answer on their way to Blob Storage; the pipeline comes in by `ResultWriter`, an image sink.

While one image goes out the next comes in, and no more: at most two of an answer are in memory. Each is written whole
under its final name or not at all, and its bytes are never changed. What an answer that breaks midway had brought by
then stays stored, under names of this attempt only.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from shared.delivery.incoming import IncomingImage, StoredImage
from shared.errors import DarkroomError
from shared.platform import strict_json
from shared.platform.blobs import BlobClient

__all__ = ["ResultTarget", "ResultWriter", "StoredImage", "sidecar", "write_sidecar"]

CONTAINER: Final = "results"
_MAX_METADATA_BYTES: Final = 8 * 2**10
_OWN_METADATA_BYTES: Final = 256  # what is added when the image is known: its provenance state and sha256
_METADATA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_METADATA_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class ResultTarget:
    """Where an attempt's images go and what is written on them. Made before the model is asked.

    Raises DarkroomError `invalid_value` when Blob Storage would refuse `metadata` (printable ASCII values, names that
    are identifiers, 8 KiB in all), so that nothing the caller sent can make storing fail once the image is paid for.
    Source: https://learn.microsoft.com/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources
    """

    job_id: str
    created_at: datetime
    attempt: int
    metadata: Mapping[str, str]

    def __post_init__(self) -> None:
        size = _OWN_METADATA_BYTES + sum(len(name) + len(value) for name, value in self.metadata.items())
        fits = all(
            _METADATA_NAME.fullmatch(name) and _METADATA_VALUE.fullmatch(value) for name, value in self.metadata.items()
        )
        if not fits or size > _MAX_METADATA_BYTES:
            raise DarkroomError("invalid_value", "The metadata cannot be written on a blob.", param="metadata")

    def stem(self, index: int) -> str:
        """An image's name but for its extension: by its job's day, and by attempt, so that no two runners share one."""
        number = f"{index}" if self.attempt == 1 else f"{index}.{self.attempt}"
        return f"{CONTAINER}/{folder(self.job_id, self.created_at)}/{number}"

    def blob(self, index: int, extension: str) -> str:
        return f"{self.stem(index)}.{extension}"


def folder(job_id: str, created_at: datetime) -> str:
    """The folder of container `results` that holds all images and sidecars of a job."""
    return f"{day_folder(created_at)}/{job_id}"


def day_folder(time: datetime) -> str:
    """The folder of all jobs that were created on the day of `time`."""
    return time.astimezone(UTC).strftime("%Y/%m/%d")


def sidecar(blob: str) -> str:
    """The name of the blob that says what is known of the image in `blob`."""
    return f"{blob.rpartition('.')[0]}.json"


async def write_sidecar(blobs: BlobClient, blob: str, document: Mapping[str, Any]) -> None:
    """Writes what is known of the image in `blob` beside it, as JSON, over what may be there."""
    text = strict_json.encode(document, indented=True)
    await blobs.put(sidecar(blob), [text], content_type="application/json", overwrite=True)


class ResultWriter:
    """Takes the images of one answer, in order. Call `finish` at its end, `abort` after any error or cancellation.

    Raises DarkroomError `response_not_an_image` or `storage_unavailable`, perhaps only with the image that follows.
    """

    def __init__(self, blobs: BlobClient, target: ResultTarget) -> None:
        self._blobs = blobs
        self._target = target
        self._receiving: IncomingImage | None = None
        self._storing: deque[asyncio.Task[StoredImage]] = deque()
        self._stored: list[StoredImage] = []

    async def piece(self, index: int, data: bytes) -> None:
        await self._image(index).add(data)

    async def end(self, index: int) -> None:
        image = self._image(index)
        await image.end()
        self._receiving = None
        try:
            await self._settle()
        finally:  # whatever became of the one before, this one is whole and paid for
            self._storing.append(asyncio.create_task(image.store()))

    async def finish(self) -> list[StoredImage]:
        """All images, once they are stored. Raises the first error; `abort` then tells which images are stored."""
        await self._settle()
        return self._stored

    async def abort(self) -> list[StoredImage]:
        """Drops the image that had not ended and returns those that had, once they are stored. Never raises."""
        if self._receiving:
            self._receiving.close()
            self._receiving = None
        while self._storing:
            with contextlib.suppress(Exception):  # the error that led here is the one to report
                await self._settle()
        return self._stored

    def _image(self, index: int) -> IncomingImage:
        if self._receiving is None:
            self._receiving = IncomingImage(self._blobs, index, self._target.stem(index), self._target.metadata)
        return self._receiving

    async def _settle(self) -> None:
        """Waits for the image on its way out; cancelling the caller does not stop it."""
        while self._storing:
            task = self._storing[0]
            await asyncio.wait([task])
            self._storing.popleft()
            self._stored.append(task.result())
