"""Azurite as the stack runs it, reached as the app reaches it: token credential, https, async SDK clients."""

from __future__ import annotations

import datetime

import httpx
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableServiceClient
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from local.azurite import StorageAccount


async def test_a_blob_is_written_once_and_read_by_a_user_delegation_link(azurite_environment: StorageAccount) -> None:
    now = datetime.datetime.now(datetime.UTC)
    async with (
        ManagedIdentityCredential() as credential,
        BlobServiceClient(azurite_environment.blob, credential) as blobs,
    ):
        blob = blobs.get_blob_client("results", "a/b.png")
        await blob.upload_blob(b"picture", overwrite=False)
        with pytest.raises(ResourceExistsError):
            await blob.upload_blob(b"another", overwrite=False)
        key = await blobs.get_user_delegation_key(
            now - datetime.timedelta(minutes=5), now + datetime.timedelta(hours=1)
        )
        signature = generate_blob_sas(
            azurite_environment.name,
            "results",
            "a/b.png",
            user_delegation_key=key,
            permission=BlobSasPermissions(read=True),
            expiry=now + datetime.timedelta(minutes=5),
        )
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{blob.url}?{signature}")).content == b"picture"
            assert (await client.put(f"{blob.url}?{signature}", content=b"", headers=_block_blob())).status_code == 403
            assert (await client.get(blob.url)).status_code in {401, 403, 404}


async def test_a_queue_message_is_sent_received_and_deleted(azurite_environment: StorageAccount) -> None:
    async with (
        ManagedIdentityCredential() as credential,
        QueueServiceClient(azurite_environment.queue, credential) as queues,
    ):
        queue = queues.get_queue_client("image-requests")
        await queue.send_message('{"job_id": "x"}')
        message = await anext(aiter(queue.receive_messages(visibility_timeout=30)))
        assert (message.content, message.dequeue_count) == ('{"job_id": "x"}', 1)
        await queue.delete_message(await queue.update_message(message, visibility_timeout=0))
        assert (await queue.get_queue_properties()).approximate_message_count == 0


async def test_an_entity_group_transaction_with_a_stale_etag_changes_nothing(
    azurite_environment: StorageAccount,
) -> None:
    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(azurite_environment.table, credential=credential) as tables,
    ):
        table = tables.get_table_client("jobs")
        await table.create_entity({"PartitionKey": "jobs", "RowKey": "j:1", "status": "queued"})
        etag = (await table.get_entity("jobs", "j:1")).metadata["etag"]
        condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified, "mode": "replace"}
        running = ("update", {"PartitionKey": "jobs", "RowKey": "j:1", "status": "running"}, condition)
        await table.submit_transaction([running, ("create", {"PartitionKey": "jobs", "RowKey": "l:1"})])
        with pytest.raises(TableTransactionError):
            await table.submit_transaction([running, ("create", {"PartitionKey": "jobs", "RowKey": "l:2"})])
        with pytest.raises(ResourceNotFoundError):
            await table.get_entity("jobs", "l:2")


async def test_each_test_has_an_account_of_its_own(azurite_environment: StorageAccount) -> None:
    async with (
        ManagedIdentityCredential() as credential,
        BlobServiceClient(azurite_environment.blob, credential) as blobs,
    ):
        names = {container.name async for container in blobs.list_containers()}
        assert names == {"requests", "results", "uploads"}
        assert [blob async for blob in blobs.get_container_client("results").list_blobs()] == []


def _block_blob() -> dict[str, str]:
    return {"x-ms-blob-type": "BlockBlob"}
