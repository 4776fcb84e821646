"""The blobs of one job in container `requests`: `request.json`, `source-<n>`, `mask`, `result.json` (design section 5).

Rows of the job table stay small; what is large, or holds a prompt, is here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.platform import folders, strict_json
from shared.platform.blobs import BlobClient
from shared.platform.folders import blob_failures

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient, ContainerClient

CONTAINER = "requests"


@dataclass(frozen=True, slots=True)
class StoredSource:
    """An image or mask of an edit as it was stored: `name` is the blob's name within the job's folder."""

    name: str
    bytes: int
    content_type: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """What `request.json` holds: the request and what its stored sources are."""

    request: ImageRequest
    images: tuple[StoredSource, ...] = ()
    mask: StoredSource | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "request": self.request.to_dict(),
            "images": [asdict(image) for image in self.images],
            "mask": asdict(self.mask) if self.mask else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AcceptedRequest:
        mask = data["mask"]
        return cls(
            ImageRequest.from_dict(data["request"]),
            tuple(StoredSource(**image) for image in data["images"]),
            StoredSource(**mask) if mask else None,
        )

    def content_hash(self) -> str:
        """The hash that says whether two requests ask for the same, sources compared by their bytes."""
        return self.request.canonical_hash(
            [image.sha256 for image in self.images], self.mask.sha256 if self.mask else None
        )

    def public(self, job_id: str) -> dict[str, Any]:
        """The `request` member of the job document: blob names where image bytes were."""
        folder = f"{CONTAINER}/{job_id}"
        mask = f"{folder}/{self.mask.name}" if self.mask else None
        return self.request.public_dict([f"{folder}/{image.name}" for image in self.images], mask)


class JobFiles:
    """Writes and reads the blobs of job `job_id`. Raises `storage_unavailable` when storage does not answer.

    Every job has its documents, which go by `blobs`; sources and deletes are the SDK's, which `service` gives.
    """

    def __init__(self, blobs: BlobClient, service: BlobServiceClient, job_id: str) -> None:
        self.job_id = job_id
        self._blobs = blobs
        self._service = service

    async def put_source(self, name: str, chunks: AsyncIterable[bytes]) -> tuple[int, str]:
        """Store `chunks` as they arrive; the number of bytes and their sha256 in hex."""
        digest = hashlib.sha256()
        length = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal length
            async for chunk in chunks:
                digest.update(chunk)
                length += len(chunk)
                yield chunk

        with blob_failures():
            await self._container().upload_blob(f"{self.job_id}/{name}", counted(), overwrite=True)
        return length, digest.hexdigest()

    async def read_source(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of a stored source. Raises `internal_error` when it is gone."""
        from azure.core.exceptions import ResourceNotFoundError

        with blob_failures():
            try:
                download = await self._container().download_blob(f"{self.job_id}/{name}")
            except ResourceNotFoundError as error:
                message = f"A stored source of job {self.job_id} is missing."
                raise DarkroomError("internal_error", message) from error
            async for chunk in download.chunks():
                yield chunk

    async def copy_sources(self, other: JobFiles, accepted: AcceptedRequest) -> None:
        """Store the sources of `accepted`, which are in the folder of `other`, here too. One that is here already has
        the same bytes (the same request put it there) and is left alone: somebody may be reading it."""
        from azure.core.exceptions import ResourceExistsError

        for source in (*accepted.images, *filter(None, [accepted.mask])):
            blob = self._container().get_blob_client(f"{self.job_id}/{source.name}")
            with blob_failures(), suppress(ResourceExistsError):
                if not await blob.exists():
                    await blob.upload_blob(other.read_source(source.name), overwrite=False)

    async def put_request(self, accepted: AcceptedRequest) -> None:
        await self._put_json("request.json", accepted.to_dict())

    async def get_request(self) -> AcceptedRequest:
        """Raises `internal_error` when the request is gone or unreadable: a fault of Darkroom's, not of a caller's."""
        try:
            data = await self._get_json("request.json")
            if data is None:
                raise DarkroomError("internal_error", f"The stored request of job {self.job_id} is missing.")
            return AcceptedRequest.from_dict(data)
        except (KeyError, TypeError, ValueError) as error:
            raise DarkroomError("internal_error", f"The stored request of job {self.job_id} cannot be read.") from error

    async def put_result(self, result: Mapping[str, Any]) -> None:
        await self._put_json("result.json", result)

    async def get_result(self) -> dict[str, Any] | None:
        return await self._get_json("result.json")

    async def discard(self) -> None:
        """Delete everything of the job: for a request that was refused while its files were being stored."""
        await folders.remove(self._service, CONTAINER, self.job_id)

    async def _put_json(self, name: str, data: Mapping[str, Any]) -> None:
        body = strict_json.encode(data)
        await self._blobs.put(self._blob(name), [body], content_type="application/json", overwrite=True)

    async def _get_json(self, name: str) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = json.loads(await self._blobs.read_whole(self._blob(name)))
        except DarkroomError as error:
            if error.code == "not_found":
                return None
            raise
        return data

    def _blob(self, name: str) -> str:
        return f"{CONTAINER}/{self.job_id}/{name}"

    def _container(self) -> ContainerClient:
        return self._service.get_container_client(CONTAINER)
