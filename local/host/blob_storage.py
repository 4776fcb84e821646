"""Blobs of one storage account for the host: what a container holds, and what is known of a blob. Never a body.

`storage.py` makes one `BlobAccount` for each connection of a blob trigger; `blob_events.py` lists with it, `blobs.py`
asks whether a blob is still there. Bare REST calls: a container is listed several times a second, and the SDK takes
its time to read a listing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from yarl import URL

from local.host.queues import StorageError

_SCOPE = "https://storage.azure.com/.default"
_API_VERSION = "2025-05-05"
_PATIENCE = aiohttp.ClientTimeout(total=15, connect=5)
_RENEW_SECONDS = 300
_METADATA = "x-ms-meta-"


@dataclass(frozen=True)
class Blob:
    """A blob's properties. `etag` is without its quotes; `metadata` is empty in a listing."""

    name: str
    etag: str
    kind: str
    content_type: str
    length: int
    last_modified: str
    created_on: str
    md5: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class BlobAccount:
    """The blob service at `address` (its service URI), reached with the tokens of `credential`."""

    def __init__(self, address: str, credential: AsyncTokenCredential) -> None:
        self.address = address.rstrip("/")
        self._credential = credential
        self._session: aiohttp.ClientSession | None = None
        self._token, self._expires = "", 0.0

    @property
    def name(self) -> str:
        """The account's name: the last part of the path of an emulator's address, else the host's first label."""
        place = urlsplit(self.address)
        return place.path.strip("/") or str(place.hostname).partition(".")[0]

    def url(self, container: str, blob: str) -> str:
        """The address of a blob."""
        return f"{self.address}/{container}/{quote(blob)}"

    async def list(self, container: str) -> list[Blob]:
        """All committed blobs of `container`. Raises StorageError."""
        found: list[Blob] = []
        marker = ""
        while True:
            query = f"restype=container&comp=list&marker={quote(marker, safe='')}"
            status, _, body = await self._ask("GET", f"{self.address}/{container}?{query}")
            if status != 200:
                raise StorageError(f"{status} for the list of container '{container}'")
            page = ElementTree.fromstring(body)  # noqa: S314  (the storage account's own words)
            found += [_listed(item) for item in page.iterfind("Blobs/Blob")]
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return found

    async def properties(self, container: str, blob: str) -> Blob | None:
        """What is known of a blob, or None when there is none. Raises StorageError."""
        status, headers, _ = await self._ask("HEAD", self.url(container, blob))
        if status == 404:
            return None
        if status != 200:
            raise StorageError(f"{status} for the properties of a blob in container '{container}'")
        return Blob(
            name=blob,
            etag=headers.get("ETag", "").strip('"'),
            kind=headers.get("x-ms-blob-type", "BlockBlob"),
            content_type=headers.get("Content-Type", ""),
            length=int(headers.get("Content-Length", 0)),
            last_modified=headers.get("Last-Modified", ""),
            created_on=headers.get("x-ms-creation-time", ""),
            md5=headers.get("Content-MD5", ""),
            metadata={
                name[len(_METADATA) :]: value for name, value in headers.items() if name.lower().startswith(_METADATA)
            },
        )

    async def _ask(self, method: str, url: str) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_PATIENCE)
        try:
            headers = {
                "Authorization": f"Bearer {await self._fresh_token()}",
                "x-ms-version": _API_VERSION,
                "x-ms-date": formatdate(usegmt=True),
            }
            # The URL is encoded as it has to be; aiohttp would undo a part of that.
            target = URL(url, encoded=True)
            async with self._session.request(method, target, headers=headers) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError, AzureError) as error:
            raise StorageError(type(error).__name__) from error

    async def _fresh_token(self) -> str:
        if time.time() > self._expires - _RENEW_SECONDS:
            token = await self._credential.get_token(_SCOPE)
            self._token, self._expires = token.token, token.expires_on
        return self._token

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _listed(item: ElementTree.Element) -> Blob:
    """A `Blob` element of List Blobs (https://learn.microsoft.com/rest/api/storageservices/list-blobs)."""
    name = item.find("Name")
    text = (name.text or "") if name is not None else ""
    if name is not None and name.get("Encoded") == "true":
        text = unquote(text)

    def property_(of: str) -> str:
        return item.findtext(f"Properties/{of}") or ""

    return Blob(
        name=text,
        etag=property_("Etag").strip('"'),
        kind=property_("BlobType") or "BlockBlob",
        content_type=property_("Content-Type"),
        length=int(property_("Content-Length") or 0),
        last_modified=property_("Last-Modified"),
        created_on=property_("Creation-Time"),
        md5=property_("Content-MD5"),
    )


def place_of(url: Any) -> tuple[str, str]:
    """Container and blob of a blob's address, as BlobUriBuilder.cs in Azure/azure-sdk-for-net reads it.

    Where the host is a number or `localhost`, as an emulator's, the account is the first part of the path. Raises
    ValueError when the address names no blob.
    """
    parts = urlsplit(url if isinstance(url, str) else "")
    segments = unquote(parts.path).lstrip("/").split("/")
    host = parts.hostname or ""
    if host == "localhost" or host.replace(".", "").isdigit():
        segments = segments[1:]
    container, name = (segments or [""])[0], "/".join(segments[1:])
    if not container or not name:
        raise ValueError("the event's data.url names no blob")
    return container, name
