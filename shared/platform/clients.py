"""The clients of one process, each made on first use and kept: SDK clients, and the fast HTTP client of the hot path.

They belong to the event loop that made them; `close()` ends them (tests run one loop each, the worker only one).
The SDKs are imported here and not at the top: a cold start pays for what it uses.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from shared.platform import identity
from shared.settings import settings

if TYPE_CHECKING:
    import httpx
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableServiceClient
    from azure.eventgrid.aio import EventGridPublisherClient
    from azure.storage.blob.aio import BlobServiceClient
    from azure.storage.queue.aio import QueueServiceClient

_SDKS = (
    "azure.identity.aio",
    "azure.data.tables.aio",
    "azure.storage.blob.aio",
    "azure.storage.queue.aio",
    "azure.eventgrid.aio",
)

TOPIC_TIMEOUT_SECONDS = 5.0
_PIECE_BYTES = 4 * 2**20
_DIRECT: dict[str, Any] = {"use_env_settings": False}
"""No proxy or .netrc of the machine, as in `transport`: each request would look for that file, in a thread of its own
(aiohttp's `trust_env`). Authorities are still those of `SSL_CERT_FILE`."""

_kept: dict[str, Any] = {}
_warm = False


async def warm() -> None:
    """Import the SDKs off the event loop, so that the first request does not stop the others for a second."""
    global _warm
    if not _warm:
        for name in _SDKS:
            await asyncio.to_thread(importlib.import_module, name)
        _warm = True


async def close() -> None:
    """Close every client and forget it."""
    while _kept:
        _, client = _kept.popitem()
        closing = getattr(client, "close", None) or getattr(client, "aclose", None)
        if closing is not None:
            await closing()


def keep[T](name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made once and kept until `close()`; what has a `close` or `aclose` is closed then."""
    if name not in _kept:
        _kept[name] = make()
    client: T = _kept[name]
    return client


def storage_credential() -> AsyncTokenCredential:
    return keep("storage credential", lambda: identity.credential(settings().storage_client_id))


def app_credential() -> AsyncTokenCredential:
    """The credential for what is not storage: the model, the Event Grid topic and the key vault."""
    return keep("credential", lambda: identity.credential(settings().identity_client_id))


def storage_bearer() -> Callable[[], Awaitable[str]]:
    return keep("storage token", lambda: identity.BearerTokens(storage_credential(), identity.STORAGE_SCOPE))


def app_bearer(scope: str) -> Callable[[], Awaitable[str]]:
    return keep(f"token {scope}", lambda: identity.BearerTokens(app_credential(), scope))


def storage_http() -> httpx.AsyncClient:
    """For image bytes on their way to and from Blob Storage; connections are kept."""
    return keep("storage http", lambda: _http_client(keep_alive=60.0))


def model_http() -> httpx.AsyncClient:
    """For calls to the model. Connections are not kept: one that the service closed while it idled fails after the
    request was sent, and such a failure cannot be told from a paid call that was cut. Nor are they limited: a call that
    waited for one would be sent later than the turn it was given."""
    return keep("model http", lambda: _http_client(keep_alive=None, max_connections=0))


def vault_http() -> httpx.AsyncClient:
    """For the few calls to the key vault that signs derived images."""
    return keep("vault http", lambda: _http_client(keep_alive=60.0, max_connections=8))


def _http_client(*, keep_alive: float | None, max_connections: int = 100) -> httpx.AsyncClient:
    from shared.platform.transport import http_client

    return http_client(keep_alive=keep_alive, max_connections=max_connections)


def blobs() -> BlobServiceClient:
    def make() -> BlobServiceClient:
        from azure.storage.blob.aio import BlobServiceClient

        # A download begins with up to 32 MB in one piece otherwise, for each source of each edit under way.
        return BlobServiceClient(
            settings().blob_service_uri,
            credential=storage_credential(),
            max_single_get_size=_PIECE_BYTES,
            max_chunk_get_size=_PIECE_BYTES,
            **_DIRECT,
        )

    return keep("blobs", make)


def queues() -> QueueServiceClient:
    def make() -> QueueServiceClient:
        from azure.storage.queue.aio import QueueServiceClient

        return QueueServiceClient(settings().queue_service_uri, credential=storage_credential(), **_DIRECT)

    return keep("queues", make)


def tables() -> TableServiceClient:
    def make() -> TableServiceClient:
        from azure.data.tables.aio import TableServiceClient

        return TableServiceClient(
            settings().table_service_uri,
            credential=storage_credential(),
            # The SDK's own patience is longer than a lease lasts.
            retry_total=3,
            connection_timeout=5,
            read_timeout=10,
            **_DIRECT,
        )

    return keep("tables", make)


def topic() -> EventGridPublisherClient:
    def make() -> EventGridPublisherClient:
        from azure.eventgrid.aio import EventGridPublisherClient

        # Somebody may be waiting for an answer: one try, and what it does not bring the outbox sends later.
        return EventGridPublisherClient(
            settings().topic_endpoint_uri,
            app_credential(),
            retry_total=0,
            connection_timeout=TOPIC_TIMEOUT_SECONDS,
            read_timeout=TOPIC_TIMEOUT_SECONDS,
            **_DIRECT,
        )

    return keep("topic", make)
