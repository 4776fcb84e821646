"""What infrastructure as code creates in Azure before the app first runs: containers, queues, tables.

`stack.py` comes in by `create_storage` once Azurite and the identity endpoint serve. Done with bare REST calls: the
storage SDKs take longer to import than all of this takes to run.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from xml.sax.saxutils import escape

import httpx

from local.identity import make_token

CONTAINERS = ("requests", "results", "uploads")
QUEUES = (
    *("image-requests", "image-requests-poison", "image-uploads", "image-uploads-poison"),
    *("image-batches", "image-batches-poison", "webjobs-blobtrigger-poison"),
)
TABLES = ("jobs", "idempotency", "ledger", "pacing")
_API_VERSION = "2025-05-05"
_CREATED = {201, 202, 204}
_PROPERTIES = """<?xml version="1.0" encoding="utf-8"?>\
<StorageServiceProperties><Cors>{rules}</Cors></StorageServiceProperties>"""
_RULE = """<CorsRule>\
<AllowedOrigins>{origins}</AllowedOrigins><AllowedMethods>GET,HEAD,PUT,OPTIONS</AllowedMethods>\
<AllowedHeaders>content-type,if-none-match,range,x-ms-*</AllowedHeaders>\
<ExposedHeaders>etag,content-length,content-range,x-ms-*</ExposedHeaders><MaxAgeInSeconds>3600</MaxAgeInSeconds>\
</CorsRule>"""
"""As `infra/modules/storage.bicep` has it."""
_EXISTS = 409


def create_storage(blob: str, queue: str, table: str, ca: Path, origins: Sequence[str] = ()) -> None:
    """Create every container, queue and table that is not there yet, at the three service URIs; let pages of `origins`
    use links to blobs.

    Raises RuntimeError naming what could not be created and what the service said.
    """
    headers = {"Authorization": f"Bearer {make_token('https://storage.azure.com')}", "x-ms-version": _API_VERSION}
    with httpx.Client(verify=ssl.create_default_context(cafile=str(ca)), headers=headers, trust_env=False) as client:
        for name in CONTAINERS:
            _expect(name, client.put(f"{blob}/{name}", params={"restype": "container"}, headers=_date()))
        for name in QUEUES:
            _expect(name, client.put(f"{queue}/{name}", headers=_date()))
        for name in TABLES:
            _expect(name, client.post(f"{table}/Tables", json={"TableName": name}, headers=_date()))
        # Without origins, too: data of an earlier run may know others.
        rules = _RULE.format(origins=escape(",".join(origins))) if origins else ""
        address, properties = f"{blob}/?restype=service&comp=properties", _PROPERTIES.format(rules=rules)
        _expect("the CORS rules", client.put(address, content=properties, headers=_date()))


def _date() -> dict[str, str]:
    return {"x-ms-date": formatdate(usegmt=True), "Accept": "application/json;odata=nometadata"}


def _expect(name: str, response: httpx.Response) -> None:
    if response.status_code not in _CREATED and response.status_code != _EXISTS:
        raise RuntimeError(f"could not create {name}: {response.status_code} {response.text[:300]}")
