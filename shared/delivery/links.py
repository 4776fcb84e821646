"""Links to blobs: signatures for one blob each, made for each answer and stored nowhere (design section 8).

A link to a result reads it. A link for an upload creates its blob and does nothing else: it cannot overwrite, read or
list, so whoever gets hold of it later can do nothing with it.

They are signed with a user-delegation key, which the storage account gives to the app's identity for hours; the account
key is never read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from shared.errors import DarkroomError

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_CLOCK_SKEW = timedelta(minutes=5)
_KEY_LIFE = timedelta(hours=12)
# Storage gives a key for seven days at most, counted from its start.
_LONGEST_KEY_LIFE = timedelta(days=7) - 2 * _CLOCK_SKEW


@dataclass(slots=True)
class ResultLinks:
    """Signs links with a delegation key kept while it outlasts them; those to results last `minutes`."""

    blobs: BlobServiceClient
    minutes: int
    _key: _DelegationKey | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sign(self, blob: str) -> str:
        """The absolute URL of `blob` (`container/name`) with a read signature. Raises `storage_unavailable`."""
        return await self._signed(blob, datetime.now(UTC) + timedelta(minutes=self.minutes), read=True)

    async def sign_upload(self, blob: str, expiry: datetime) -> str:
        """The absolute URL to which `blob` can be PUT, once, until `expiry`, over https. Raises `storage_unavailable`.

        With the permission to create alone, Put Blob on a blob that is there is refused
        (https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas).
        """
        return await self._signed(blob, expiry, create=True, protocol="https")

    async def _signed(
        self, blob: str, expiry: datetime, *, read: bool = False, create: bool = False, protocol: str | None = None
    ) -> str:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        container, _, name = blob.partition("/")
        now = datetime.now(UTC)
        key = await self._delegation_key(now, expiry)
        signature = generate_blob_sas(
            account_name=str(self.blobs.account_name),
            container_name=container,
            blob_name=name,
            user_delegation_key=key.value,
            permission=BlobSasPermissions(read=read, create=create),
            start=now - _CLOCK_SKEW,
            expiry=min(expiry, key.until),
            protocol=protocol,
        )
        return f"{self.blobs.url.rstrip('/')}/{container}/{quote(name)}?{signature}"

    async def _delegation_key(self, now: datetime, needed_until: datetime) -> _DelegationKey:
        async with self._lock:
            if self._key is None or needed_until > self._key.until:
                until = max(now + _KEY_LIFE, needed_until + _CLOCK_SKEW)
                until = min(until, now + _LONGEST_KEY_LIFE)
                self._key = _DelegationKey(await self._ask(now - _CLOCK_SKEW, until), until)
            return self._key

    async def _ask(self, begin: datetime, until: datetime) -> Any:
        from azure.core.exceptions import AzureError

        try:
            return await self.blobs.get_user_delegation_key(begin, until)
        except AzureError as error:
            raise DarkroomError("storage_unavailable", "Blob Storage gave no key to sign links with.") from error


@dataclass(frozen=True, slots=True)
class _DelegationKey:
    value: Any
    until: datetime
