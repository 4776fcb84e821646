"""Results in Azurite, with real tokens over HTTPS: the requests are such as Blob Storage takes."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import BlobServiceClient

from shared.delivery.incoming import BLOCK_BYTES, MAX_BUFFERED_BYTES
from shared.delivery.results import ResultTarget, ResultWriter, sidecar, write_sidecar
from shared.errors import DarkroomError
from shared.platform.blobs import BlobClient
from shared.platform.transport import http_client
from tests.support.signing import large_png, picture, vendor

TARGET = ResultTarget(
    "job", datetime(2026, 11, 22, tzinfo=UTC), 1, {"job": "job", "darkroom_metadata": "%7B%22a%22%7D"}
)


@asynccontextmanager
async def storage(account: str) -> AsyncIterator[tuple[BlobClient, BlobServiceClient]]:
    async with (
        ManagedIdentityCredential() as credential,
        http_client() as client,
        BlobServiceClient(account, credential) as service,
    ):

        async def authorize() -> str:
            return f"Bearer {(await credential.get_token('https://storage.azure.com/.default')).token}"

        yield BlobClient(client, account, authorize), service


@pytest.mark.parametrize("size", [None, MAX_BUFFERED_BYTES + 2 * BLOCK_BYTES])
async def test_an_image_is_found_again_by_the_sdk_with_all_that_was_said_of_it(azurite_environment, size):
    image = vendor().sign(picture() if size is None else large_png(size))
    async with storage(azurite_environment.blob) as (blobs, service):
        writer = ResultWriter(blobs, TARGET)
        for begin in range(0, len(image), 300_000):
            await writer.piece(0, image[begin : begin + 300_000])
        await writer.end(0)
        (stored,) = await writer.finish()
        await write_sidecar(blobs, stored.blob, {"provenance": stored.provenance.to_dict()})

        found = service.get_blob_client("results", stored.blob.removeprefix("results/"))
        properties = await found.get_blob_properties()
        assert await (await found.download_blob()).readall() == image
        assert properties.content_settings.content_type == "image/png"
        assert properties.metadata == {
            **TARGET.metadata,
            "provenance": "valid",
            "sha256": hashlib.sha256(image).hexdigest(),
        }

        with pytest.raises(DarkroomError):  # the name is taken, and by other bytes
            await blobs.put(stored.blob, [b"other"], content_type="image/png", metadata={"sha256": "other"})
        await blobs.put(stored.blob, [image], content_type="image/png", metadata={"sha256": stored.sha256})

        async with await blobs.read(stored.blob, byte_range="bytes=0-7") as blob:
            assert (blob.status, b"".join([chunk async for chunk in blob.chunks()])) == (206, b"\x89PNG\r\n\x1a\n")
        async with await blobs.read(sidecar(stored.blob)) as blob:
            assert blob.headers["content-type"] == "application/json"


async def test_what_is_not_there_is_not_found(azurite_environment):
    async with storage(azurite_environment.blob) as (blobs, _):
        with pytest.raises(DarkroomError) as caught:
            await blobs.read("results/none.png")
        assert caught.value.code == "not_found"


async def test_a_broken_answer_leaves_no_blob(azurite_environment):
    async with storage(azurite_environment.blob) as (blobs, service):
        writer = ResultWriter(blobs, TARGET)
        await writer.piece(0, large_png(MAX_BUFFERED_BYTES + BLOCK_BYTES)[:-1])
        assert await writer.abort() == []
        assert [blob.name async for blob in service.get_container_client("results").list_blobs()] == []
