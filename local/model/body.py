"""Reads the body of a call within bounds: JSON of a few megabytes, or multipart spooled to temporary files.

`service.py` comes in here with the request; `parameters.py` judges what came out.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from local.model.errors import ServiceError, backend_error

MAX_JSON_BYTES = 2 * 1024 * 1024
MAX_FIELD_BYTES = 1024 * 1024
MAX_FILE_PARTS = 40
MAX_FIELDS = 64
MAX_FORM_BYTES = 17 * 50 * 1024 * 1024 + MAX_FIELDS * MAX_FIELD_BYTES
"""Sixteen images and a mask at their limit of 50 MB, and the fields."""


@dataclass
class FilePart:
    """A file of a form, spooled to disk when large. `file` stands at its start."""

    field: str
    filename: str
    content_type: str | None
    size: int
    sha256: str
    file: BinaryIO

    def described(self) -> dict[str, Any]:
        return {
            "field": self.field,
            "filename": self.filename,
            "content_type": self.content_type,
            "bytes": self.size,
            "sha256": self.sha256,
        }


@dataclass
class Body:
    """The members of a body: plain values by name, and file parts in their order."""

    values: dict[str, Any] = field(default_factory=dict)
    files: list[FilePart] = field(default_factory=list)
    is_form: bool = False

    def close(self) -> None:
        for part in self.files:
            part.file.close()


async def read_json(request: Request) -> Body:
    """A JSON object as a Body. Raises ServiceError for another content type, bad JSON, or more than 2 MiB."""
    _require_type(request, "application/json")
    text = bytearray()
    async for chunk in _bounded(request.stream(), MAX_JSON_BYTES):
        text += chunk
    try:
        document = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise backend_error(
            "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload, but what was "
            "sent was not valid JSON.",
            code=None,
        ) from error
    if not isinstance(document, dict):
        raise backend_error("Invalid type for request body: expected an object.", code="invalid_type")
    return Body(document)


async def read_form(request: Request) -> Body:
    """A multipart form as a Body; files beyond 1 MB wait on disk. Raises ServiceError when it is none or too large."""
    _require_type(request, "multipart/form-data")
    parser = MultiPartParser(
        request.headers,
        _bounded(request.stream(), MAX_FORM_BYTES),
        max_files=MAX_FILE_PARTS,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:
        raise backend_error("Could not parse multipart form.", code=None) from error
    return await asyncio.to_thread(_form_body, form)


def _form_body(form: FormData) -> Body:
    body = Body(is_form=True)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            body.files.append(_file_part(name, value))
        elif name in body.values:
            body.close()
            raise backend_error(f"Duplicate parameter: '{name}'.", code="duplicate_parameter", param=name)
        else:
            body.values[name] = value
    return body


def _file_part(name: str, upload: UploadFile) -> FilePart:
    digest = hashlib.file_digest(cast("io.BufferedIOBase", upload.file), "sha256").hexdigest()
    upload.file.seek(0)
    return FilePart(name, upload.filename or "", upload.content_type, upload.size or 0, digest, upload.file)


def _require_type(request: Request, wanted: str) -> None:
    sent = request.headers.get("content-type", "")
    if sent.partition(";")[0].strip().lower() != wanted:
        raise backend_error(
            f"Unsupported content type: '{sent}'. This API method only accepts '{wanted}' requests, but you specified "
            f"the header 'Content-Type: {sent}'. Please try again with a supported content type.",
            code="unsupported_content_type",
        )


async def _bounded(stream: AsyncGenerator[bytes], limit: int) -> AsyncGenerator[bytes]:
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > limit:
            raise ServiceError(413, {"error": {"code": "413", "message": "Request body too large."}})
        yield chunk
