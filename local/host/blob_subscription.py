"""An event subscription on a container: what has been written since it was made, and the event that tells so.

`blob_events.py` looks and delivers with it. Where the host has a directory for its state, what was delivered is kept.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.host.blob_storage import Blob, BlobAccount


@dataclass
class Subscription:
    """An event subscription of the function with the id `function`: all that is written to a container.

    `seen` and `delivered` are ETags by the names of blobs; `file` keeps the latter.
    """

    function: str
    account: BlobAccount
    container: str
    file: Path | None = None
    seen: dict[str, str] | None = None
    delivered: dict[str, str] = field(default_factory=dict)
    is_broken: bool = False
    is_changed: bool = False

    def recall(self) -> None:
        """Take up where the host before this one ended, if one did."""
        if self.file is None or not self.file.is_file():
            return
        try:
            self.delivered = dict(json.loads(self.file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            return
        self.seen = dict(self.delivered)

    def remember(self) -> None:
        """Write down what was delivered, if that has changed."""
        if self.file is not None and self.is_changed:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            written = self.file.with_suffix(".new")
            written.write_text(json.dumps(self.delivered), encoding="utf-8")
            written.replace(self.file)
        self.is_changed = False

    def news(self, blobs: list[Blob]) -> list[Blob]:
        """Those of all `blobs` of the container that were written since the last time; none the very first time."""
        current = {blob.name: blob.etag for blob in blobs}
        if self.seen is None:
            self.seen, self.delivered, self.is_changed = dict(current), dict(current), True
        for name in self.seen.keys() - current.keys():
            del self.seen[name]
            self.is_changed |= self.delivered.pop(name, None) is not None
        written = [blob for blob in blobs if self.seen.get(blob.name) != blob.etag]
        self.seen.update({blob.name: blob.etag for blob in written})
        return written

    def took(self, blob: Blob) -> None:
        """Note that the event of a write was delivered, unless a later one is under way."""
        if self.seen is not None and self.seen.get(blob.name) == blob.etag:
            self.delivered[blob.name] = blob.etag
            self.is_changed = True


def created(account: BlobAccount, container: str, blob: Blob, sequence: int) -> dict[str, Any]:
    """The event of a write, in the Event Grid schema (https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage).

    `eTag` is without quotes: the blob extension adds them (BlobsExtensionConfigProvider.cs).
    """
    resource = f"/subscriptions/local/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/{account.name}"
    return {
        "topic": resource,
        "subject": f"/blobServices/default/containers/{container}/blobs/{blob.name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "id": str(uuid.uuid4()),
        "data": {
            # A listing does not say how a blob was written; a checksum of the whole comes with Put Blob alone.
            "api": "PutBlob" if blob.md5 else "PutBlockList",
            "clientRequestId": str(uuid.uuid4()),
            "requestId": str(uuid.uuid4()),
            "eTag": blob.etag,
            "contentType": blob.content_type,
            "contentLength": blob.length,
            "blobType": blob.kind,
            "url": account.url(container, blob.name),
            "sequencer": f"{sequence:032x}",
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }
