"""An ImageRequest as the service wants it: JSON for a generation, multipart for an edit.

Parameters are sent explicitly, since the published defaults contradict each other; `model` is in the body on the v1
surface only, where it must be the deployment's name, and never beside a deployment in the path, where newer models
break on it. A multipart body streams its files from storage and still declares its length.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from shared.images.pixels import EXTENSIONS
from shared.images.request import ImageRequest
from shared.model import deployments
from shared.settings import Deployment

_OPTIONAL = ("output_format", "output_compression", "background", "moderation", "user")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source of an edit: what its part of the body declares, and how to read its bytes (anew for each call)."""

    field: str
    filename: str
    content_type: str
    length: int
    read: Callable[[], AsyncIterator[bytes]]


def source_file(field: str, content_type: str, length: int, read: Callable[[], AsyncIterator[bytes]]) -> SourceFile:
    """A source under the file name its type asks for: the service refuses parts whose type it cannot tell."""
    extension = EXTENSIONS[content_type]
    return SourceFile(field, f"{field.removesuffix('[]')}.{extension}", content_type, length, read)


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body: its content type, its length in bytes, its bytes, read anew for each call, and how many images it
    asks for."""

    content_type: str
    length: int
    read: Callable[[], AsyncIterator[bytes]]
    images: int | None = None


def build(request: ImageRequest, deployment: Deployment, sources: Sequence[SourceFile]) -> Payload:
    """The body of the call for `request` on `deployment`; `sources` in the order images, then mask."""
    fields = _fields(request, deployment)
    body = _multipart(fields, sources) if request.kind == "edit" else _json(fields)
    return replace(body, images=request.n)


def _fields(request: ImageRequest, deployment: Deployment) -> dict[str, str | int]:
    fields: dict[str, str | int] = {
        "prompt": request.prompt,
        "n": request.n,
        "size": request.size,
        "quality": request.quality,
    }
    names = _OPTIONAL if request.kind == "generate" else tuple(name for name in _OPTIONAL if name != "moderation")
    if request.kind == "edit":
        names = (*names, "input_fidelity")
    for name in names:
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    if request.stream:
        fields["stream"] = True
        fields["partial_images"] = request.partial_images
    if deployments.uses_v1(deployment):
        fields["model"] = deployment.deployment
    return fields


def _text(value: str | int) -> str:
    """A field's value as a form has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(fields: dict[str, str | int]) -> Payload:
    body = json.dumps(fields, ensure_ascii=False).encode()

    async def read() -> AsyncIterator[bytes]:
        yield body

    return Payload("application/json", len(body), read)


def _multipart(fields: dict[str, str | int], sources: Sequence[SourceFile]) -> Payload:
    boundary = f"darkroom-{secrets.token_hex(16)}"
    texts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{_text(value)}\r\n'.encode()
        for name, value in fields.items()
    )
    heads = [
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{source.field}"; filename="{source.filename}"\r\n'
            f"Content-Type: {source.content_type}\r\n\r\n"
        ).encode()
        for source in sources
    ]
    end = f"--{boundary}--\r\n".encode()
    length = (
        len(texts) + sum(len(head) + source.length + 2 for head, source in zip(heads, sources, strict=True)) + len(end)
    )

    async def read() -> AsyncIterator[bytes]:
        yield texts
        for head, source in zip(heads, sources, strict=True):
            yield head
            async for chunk in source.read():
                yield chunk
            yield b"\r\n"
        yield end

    return Payload(f"multipart/form-data; boundary={boundary}", length, read)
