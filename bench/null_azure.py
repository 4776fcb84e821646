"""What Darkroom keeps its books in, as little of it as there can be: tables, small blobs and a topic over TLS.

Nothing is refused and no condition is checked: one runner works here, and what is measured is what Darkroom does, not
what a store does. The newest few thousand rows and the newest few hundred small blobs can be read again; larger blobs
are taken and thrown away. `python -m bench.null_azure tables|blobs|topic CERT KEY` prints its port.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import threading
from collections import OrderedDict
from typing import Final
from urllib.parse import unquote

from bench.servers import BLOB_HEADERS, Answer, Request, serve, whole

_KEPT_ROWS: Final = 5_000
_KEPT_BLOBS: Final = 512
_JSON: Final = "Content-Type: application/json\r\n"
_KEY = re.compile(r"/(\w+)\(PartitionKey='(.*?)',RowKey='(.*?)'\)")
_OPERATION = re.compile(rb"\r\n(POST|PUT|PATCH|MERGE|DELETE|GET) https?://[^/]+(\S+) HTTP/1\.1\r\n")


class _Newest:
    """The newest values under their keys, at most `size`."""

    def __init__(self, size: int) -> None:
        self._values: OrderedDict[object, bytes] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    def put(self, key: object, value: bytes) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)

    def get(self, key: object) -> bytes | None:
        return self._values.get(key)

    def drop(self, key: object) -> None:
        with self._lock:
            self._values.pop(key, None)


class Tables:
    """Table Storage's protocol as the SDK speaks it
    (https://learn.microsoft.com/rest/api/storageservices/table-service-rest-api)."""

    def __init__(self) -> None:
        self._rows = _Newest(_KEPT_ROWS)
        self._versions = itertools.count(1)

    def __call__(self, request: Request) -> bytes:
        if request.path.startswith("/$batch"):
            return self._transaction(request.body)
        return self._operation(request.method, request.path, request.body)

    def _operation(self, method: str, path: str, body: bytes) -> bytes:
        found = _KEY.match(unquote(path).replace("''", "'"))
        if method == "GET":
            return self._read(found.groups()) if found else whole("200 OK", b'{"value": []}', _JSON)
        if method == "DELETE":
            if found:
                self._rows.drop(found.groups())
            return whole("204 No Content")
        if found:
            key = found.groups()
        else:
            row = json.loads(body)
            key = (path.partition("?")[0].strip("/"), row["PartitionKey"], row["RowKey"])
        self._rows.put(key, body)
        return whole("204 No Content", headers=f"ETag: {self._etag()}\r\n")

    def _read(self, key: tuple[str, ...]) -> bytes:
        body = self._rows.get(key)
        if body is None:
            error = {"odata.error": {"code": "ResourceNotFound", "message": {"lang": "en-US", "value": "no such row"}}}
            return whole("404 Not Found", json.dumps(error).encode(), _JSON)
        etag = self._etag()
        return whole(
            "200 OK", json.dumps({"odata.etag": etag, **json.loads(body)}).encode(), f"{_JSON}ETag: {etag}\r\n"
        )

    def _transaction(self, body: bytes) -> bytes:
        """Each operation of the change set, answered in turn."""
        found = list(_OPERATION.finditer(body))
        ends = [*(match.start() for match in found[1:]), len(body)]
        parts = []
        for match, end in zip(found, ends, strict=True):
            content = body[match.end() : end].partition(b"\r\n\r\n")[2].partition(b"\r\n--changeset")[0]
            answer = self._operation(match[1].decode(), match[2].decode(), content)
            parts.append(
                b"--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
                + answer
                + b"\r\n"
            )
        told = b"".join(
            [
                b"--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n",
                *parts,
                b"--changesetresponse_1--\r\n--batchresponse_1--\r\n",
            ]
        )
        return whole("202 Accepted", told, "Content-Type: multipart/mixed; boundary=batchresponse_1\r\n")

    def _etag(self) -> str:
        return f"W/\"datetime'{next(self._versions)}'\""


class Blobs:
    """Blob Storage's protocol, as far as one blob goes."""

    def __init__(self) -> None:
        self._bodies = _Newest(_KEPT_BLOBS)
        self._taken = whole("201 Created", headers=BLOB_HEADERS)

    def __call__(self, request: Request) -> bytes:
        path = request.path.partition("?")[0]
        if request.method == "PUT":
            if request.body:
                self._bodies.put(path, request.body)
            return self._taken
        body = self._bodies.get(path)
        if body is None:
            return whole("404 Not Found", headers="x-ms-error-code: BlobNotFound\r\n")
        headers = f"{BLOB_HEADERS}x-ms-blob-type: BlockBlob\r\nContent-Type: application/octet-stream\r\n"
        if request.method == "HEAD":
            return whole("200 OK", headers=headers)
        if b"range:" not in request.head.lower():
            return whole("200 OK", body, headers)
        return whole("206 Partial Content", body, f"{headers}Content-Range: bytes 0-{len(body) - 1}/{len(body)}\r\n")


def topic() -> Answer:
    taken = whole("200 OK")
    return lambda _: taken


def main(kind: str, certificate: str, key: str) -> None:
    answers: dict[str, Answer] = {"tables": Tables(), "blobs": Blobs(), "topic": topic()}
    serve(answers[kind], certificate, key)


if __name__ == "__main__":
    main(*sys.argv[1:])
