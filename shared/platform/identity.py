"""Tokens: the only credential Darkroom has for the model, Storage, Event Grid and Key Vault.

On Azure and in the local stack the platform announces a managed identity (`IDENTITY_ENDPOINT`); elsewhere, for a
developer who starts the app by hand, `DefaultAzureCredential` finds the login of the Azure CLI. azure-identity is
imported on first use: it costs more to import than the rest of the app together.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

STORAGE_SCOPE = "https://storage.azure.com/.default"
EVENT_GRID_SCOPE = "https://eventgrid.azure.net/.default"

_RENEW_BEFORE_SECONDS = 300.0


def credential(client_id: str | None) -> AsyncTokenCredential:
    """A new credential for the identity `client_id` (None: the system-assigned one). The caller closes it."""
    if os.environ.get("IDENTITY_ENDPOINT"):
        from azure.identity.aio import ManagedIdentityCredential

        # The platform's endpoint is on this machine: no proxy stands before it.
        return ManagedIdentityCredential(client_id=client_id or None, use_env_settings=False)
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id)


@dataclass(slots=True)
class BearerTokens:
    """`Authorization` values for one scope, asked for once and renewed five minutes before they end."""

    credential: AsyncTokenCredential
    scope: str
    _value: str = ""
    _renew_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self) -> str:
        """`Bearer <token>`. Raises what azure-identity raises when no token is to be had."""
        if time.time() < self._renew_at:
            return self._value
        async with self._lock:
            if time.time() >= self._renew_at:
                token = await self.credential.get_token(self.scope)
                self._value = f"Bearer {token.token}"
                self._renew_at = token.expires_on - _RENEW_BEFORE_SECONDS
        return self._value
