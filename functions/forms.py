"""Multipart requests at the doors: text fields gathered, each file handed to the intake while it arrives."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from azurefunctions.extensions.http.fastapi import Request

from functions import web
from functions.arriving import Held
from shared.errors import DarkroomError
from shared.images.form import parse_form
from shared.images.sources import MAX_IMAGE_BYTES, Source
from shared.jobs.intake import Intake
from shared.platform import multipart
from shared.platform.multipart import Part, PartEnd

_FILE_FIELDS = {"image": "image", "image[]": "image", "images": "image", "images[]": "image", "mask": "mask"}
_TEXT_BYTES = 256 * 1024
_IMAGE_TEXT_BYTES = MAX_IMAGE_BYTES * 3 // 2  # base64, its line breaks and the head of a data URL


@dataclass(slots=True)
class Form:
    """`data` as the request rooms take it, and the placeholders of the files that were stored."""

    data: dict[str, Any] = field(default_factory=dict)
    images: list[Source] = field(default_factory=list)
    mask: Source | None = None


async def read_form(req: Request, intake: Intake) -> Form:
    """Read the multipart body of `req`; its files are in `intake` afterwards.

    Raises `invalid_multipart`, `unknown_parameter` for a file under another name, what `web.json_body` raises of a
    body's size and time, and what the intake raises for files that are no images.
    """
    form = Form()
    fields: list[tuple[str, str]] = []
    events = multipart.parse(web.body_chunks(req), req.headers.get("content-type", ""))
    with Held() as held:
        async for event in events:
            assert isinstance(event, Part)
            if event.filename is None:
                fields.append((event.name, await _text(event, held.counted(_part_bytes(events)))))
                continue
            role = _FILE_FIELDS.get(event.name)
            if role is None:
                raise DarkroomError(
                    "unknown_parameter",
                    f"Unknown file field '{event.name}'. Files are sent as image, image[] or mask.",
                    param=event.name,
                )
            source = await intake.take(role, _part_bytes(events))
            if role == "mask":
                form.mask = source
            else:
                form.images.append(source)
        form.data = parse_form(fields)
    return form


async def _part_bytes(events: AsyncIterator[multipart.Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if isinstance(event, PartEnd):
            return
        assert isinstance(event, bytes)
        yield event


async def _text(part: Part, pieces: AsyncIterator[bytes]) -> str:
    # An image may come as base64 text, as some published examples send it; any other field is short.
    limit = _IMAGE_TEXT_BYTES if part.name in _FILE_FIELDS else _TEXT_BYTES
    value = bytearray()
    async for piece in pieces:
        value += piece
        if len(value) > limit:
            raise DarkroomError("invalid_value", f"'{part.name}' is longer than {limit} bytes.", param=part.name)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DarkroomError("invalid_value", f"'{part.name}' is no UTF-8 text.", param=part.name) from error
