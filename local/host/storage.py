"""Storage queues for the listeners, and storage accounts, reached as a binding reaches them: by managed identity.

`host.py` and `blobs.py` come in with a binding's `connection`. It is a prefix of app settings:
`<prefix>__queueServiceUri`, `<prefix>__blobServiceUri`, and `<prefix>__clientId` for a user-assigned identity.
Connection strings are not read: the app has none in Azure either.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.host.blob_storage import BlobAccount
from local.host.metadata import UnservedAppError
from local.host.queues import MessageGoneError, QueueMessage, StorageError

_NEVER = -1
_PATIENCE: dict[str, Any] = {
    "connection_timeout": 5,
    "read_timeout": 15,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 0,
    "retry_total": 2,
}
_AT_ONCE: dict[str, Any] = {"retry_total": 0}  # the listener itself asks again
_GONE = ("MessageNotFound", "PopReceiptMismatch", "QueueNotFound")


class AzureQueue:
    """One queue, in the terms of `queues.Queue`."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        self.name: str = client.queue_name

    async def create(self) -> None:
        """Make the queue unless it exists."""
        try:
            await self._client.create_queue(**_AT_ONCE)
        except ResourceExistsError:
            return
        except AzureError as error:
            raise StorageError(_describe(error)) from error

    async def receive(self, count: int, visibility_timeout: float) -> list[QueueMessage]:
        """Take up to `count` messages."""
        pages = self._client.receive_messages(
            messages_per_page=count,
            max_messages=count,
            visibility_timeout=_seconds(visibility_timeout),
            **_AT_ONCE,
        ).by_page()
        try:
            # One page is one request; going on would ask again until the queue is empty.
            async for page in pages:
                return [_message(message) async for message in page]
        except AzureError as error:
            raise StorageError(_describe(error)) from error
        return []

    async def update(self, message: QueueMessage, visibility_timeout: float) -> None:
        """Set when the message is visible again."""
        updated = await _claim(
            self._client.update_message(
                message.id, message.pop_receipt, visibility_timeout=_seconds(visibility_timeout)
            )
        )
        message.pop_receipt = updated.pop_receipt

    async def delete(self, message: QueueMessage) -> None:
        """Delete a message."""
        await _claim(self._client.delete_message(message.id, message.pop_receipt))

    async def send(self, content: str) -> None:
        """Add a message that never expires, making the queue if need be."""
        try:
            try:
                await self._client.send_message(content, time_to_live=_NEVER)
            except ResourceNotFoundError:
                await self.create()
                await self._client.send_message(content, time_to_live=_NEVER)
        except AzureError as error:
            raise StorageError(_describe(error)) from error


class Connections:
    """The services of each connection prefix that the app's bindings name. UnservedAppError when one is not set up."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._services: dict[str, QueueServiceClient] = {}
        self._accounts: dict[str, BlobAccount] = {}
        self._credentials: list[ManagedIdentityCredential] = []

    def queue(self, prefix: str, name: str) -> AzureQueue:
        """The queue `name` behind the connection `prefix`."""
        if prefix not in self._services:
            address = self._address(prefix, "queueServiceUri", "a queue or blob trigger")
            self._services[prefix] = QueueServiceClient(address, credential=self._credential(prefix), **_PATIENCE)
        return AzureQueue(self._services[prefix].get_queue_client(name))

    def blobs(self, prefix: str) -> BlobAccount:
        """The blob service behind the connection `prefix`."""
        if prefix not in self._accounts:
            address = self._address(prefix, "blobServiceUri", "a blob trigger")
            self._accounts[prefix] = BlobAccount(address, self._credential(prefix))
        return self._accounts[prefix]

    def _address(self, prefix: str, name: str, user: str) -> str:
        address = self._setting(prefix, name)
        if address is None:
            raise UnservedAppError(f"The app setting '{prefix}__{name}' is not set; {user} connects through it.")
        if urlsplit(address).scheme != "https":
            raise UnservedAppError(f"'{prefix}__{name}' must be an https address: tokens travel on it.")
        return address

    def _credential(self, prefix: str) -> ManagedIdentityCredential:
        client_id = self._setting(prefix, "clientId")
        credential = ManagedIdentityCredential(client_id=client_id) if client_id else ManagedIdentityCredential()
        self._credentials.append(credential)
        return credential

    def _setting(self, prefix: str, name: str) -> str | None:
        value = self._environment.get(f"{prefix}__{name}")
        return value or self._environment.get(f"AzureWebJobs{prefix}__{name}")

    async def close(self) -> None:
        """Close all clients and credentials."""
        for service in self._services.values():
            await service.close()
        for account in self._accounts.values():
            await account.close()
        for credential in self._credentials:
            await credential.close()


async def _claim(operation: Awaitable[Any]) -> Any:
    """Wait for an operation that needs the pop receipt to be current still."""
    try:
        return await operation
    except HttpResponseError as error:
        code = getattr(error, "error_code", None)  # the storage SDK adds it: text, or a member of an enum of text
        if getattr(code, "value", code) in _GONE:
            raise MessageGoneError from error
        raise StorageError(_describe(error)) from error
    except AzureError as error:
        raise StorageError(_describe(error)) from error


def _describe(error: AzureError) -> str:
    """A short sentence on a failure. SDK messages repeat whole responses, and may hold addresses."""
    if isinstance(error, ClientAuthenticationError):
        return "authentication failed; is the managed-identity endpoint there, and is the token for storage?"
    if isinstance(error, HttpResponseError):
        return f"{error.status_code} {error.reason}"
    return type(error).__name__


def _message(message: Any) -> QueueMessage:
    return QueueMessage(
        id=message.id,
        content=message.content,
        pop_receipt=message.pop_receipt,
        dequeue_count=message.dequeue_count,
        inserted_on=message.inserted_on,
        expires_on=message.expires_on,
        next_visible_on=message.next_visible_on,
    )


def _seconds(value: float) -> int:
    """Whole seconds, as the service takes them."""
    return max(0, round(value))
