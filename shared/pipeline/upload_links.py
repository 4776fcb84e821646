"""Links for sources too large for a request body: a folder of a new id, and one create-only link for each file.

The folder is the caller's: its jobs, whether made by the uploads door or by naming `uploads/<folder>/<file>` as a
source, belong to whoever asked for the links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import invalid, missing, refuse_unknown, text, wrong_type
from shared.jobs.job import new_id
from shared.jobs.upload_folder import CONTAINER
from shared.pipeline.rooms import rooms
from shared.pipeline.upload_order import REQUEST
from shared.platform.principals import Caller

LINKS_LAST = timedelta(minutes=15)
MAX_FILES = 18
"""16 images, a mask and a request."""
MAX_NAME_CHARS = 128
CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
_NEVER_IN_A_NAME = re.compile(r'[/\\%?#*:|<>"\x00-\x1f\x7f-\x9f]')


async def hand_out(caller: Caller, data: Any) -> dict[str, Any]:
    """Links for the files that `data`, `{"files": ["image.png", ...]}`, names. Raises `DarkroomError` naming what is
    wrong."""
    names = _names(data)
    room = await rooms()
    now = datetime.now(UTC)
    folder = new_id(now)
    await room.upload_owners.remember(folder, caller.owner)
    until = (now + LINKS_LAST).replace(microsecond=0)
    return {
        "folder": folder,
        "expires_at": until.isoformat().replace("+00:00", "Z"),
        "files": [
            {
                "name": name,
                "blob": (blob := f"{CONTAINER}/{folder}/{name}"),
                "url": await room.links.sign_upload(blob, until),
                "method": "PUT",
                "headers": {"x-ms-blob-type": "BlockBlob", "content-type": content_type(name)},
            }
            for name in names
        ],
    }


def content_type(name: str) -> str:
    return "application/json" if name == REQUEST else CONTENT_TYPES[_extension(name)]


def _names(data: Any) -> list[str]:
    if not isinstance(data, Mapping):
        raise DarkroomError("invalid_type", "Expected the request to be a JSON object.")
    refuse_unknown(data, ("files",))
    files = data.get("files")
    if files is None:
        raise missing("files", 'Send the names of the files to come: {"files": ["image.png", "mask.png"]}.')
    if not isinstance(files, list):
        raise wrong_type("files", "an array of file names", files)
    if not 1 <= len(files) <= MAX_FILES:
        raise invalid("files", f"Invalid 'files': expected 1 to {MAX_FILES} file names, got {len(files)}.")
    names = [_name(f"files[{position}]", name) for position, name in enumerate(files)]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise invalid(f"files[{position}]", f"Invalid 'files[{position}]': the name is there twice.")
    return names


def _name(param: str, value: Any) -> str:
    name = text(param, value, most=MAX_NAME_CHARS)
    plain = not _NEVER_IN_A_NAME.search(name) and not name.startswith(".") and name == name.strip()
    if not plain or (name != REQUEST and _extension(name) not in CONTENT_TYPES):
        raise invalid(
            param,
            f"Invalid '{param}': expected {REQUEST}, or a plain file name that ends in "
            f"{', '.join('.' + extension for extension in CONTENT_TYPES)}.",
        )
    return name


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""
