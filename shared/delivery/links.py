"""Links to results: read-only signatures for one blob, made for each answer and stored nowhere (design section 8).

They are signed with a user-delegation key, which the storage account gives to the app's identity for hours; the account
key is never read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_KEY_HOURS = 12
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(slots=True)
class ResultLinks:
    """Signs links that last `minutes` with a delegation key kept while it outlasts them."""

    blobs: BlobServiceClient
    minutes: int
    _key: Any = None
    _key_until: datetime = datetime.min.replace(tzinfo=UTC)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sign(self, blob: str) -> str:
        """The absolute URL of `blob` (`container/name`) with a read signature. Raises `AzureError` without a key."""
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        container, _, name = blob.partition("/")
        now = datetime.now(UTC)
        key = await self._delegation_key(now + timedelta(minutes=self.minutes))
        expiry = min(now + timedelta(minutes=self.minutes), self._key_until)
        signature = generate_blob_sas(
            account_name=str(self.blobs.account_name),
            container_name=container,
            blob_name=name,
            user_delegation_key=key,
            permission=BlobSasPermissions(read=True),
            start=now - _CLOCK_SKEW,
            expiry=expiry,
        )
        return f"{self.blobs.url.rstrip('/')}/{container}/{quote(name)}?{signature}"

    async def _delegation_key(self, needed_until: datetime) -> Any:
        async with self._lock:
            if needed_until > self._key_until:
                now = datetime.now(UTC)
                until = max(now + timedelta(hours=_KEY_HOURS), needed_until + timedelta(hours=1))
                self._key_until = min(until, now + timedelta(days=7) - _CLOCK_SKEW)
                self._key = await self.blobs.get_user_delegation_key(now - _CLOCK_SKEW, self._key_until)
        return self._key
