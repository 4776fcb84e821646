"""What a folder of `uploads` asks for: its order, and which of its files belong to it.

1. The order is `request.json`; without one, the image whose metadata hold a prompt.
2. `images` and `mask` name files of the folder; an edit that names no image means the one `image.*` that is there.
3. A file that is named and not there yet is waited for: files come in any order. What is wrong whatever may come (no
   JSON, unknown fields, two candidates for the image) is refused at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import invalid, text
from shared.images.sources import MAX_IMAGE_BYTES, Source
from shared.images.upload_metadata import asks, parse_blob_metadata
from shared.jobs.upload_folder import NOTES, UploadedFile, UploadFolder
from shared.pipeline import accept
from shared.platform import strict_json

REQUEST = "request.json"
MAX_REQUEST_BYTES = 256 * 1024
"""Bytes of `request.json`: the longest prompt and the largest metadata, several times over."""
_MAX_IMAGES = 16
_MAX_NAME_CHARS = 255
_IMAGE = re.compile(r"image\.(png|jpe?g|webp)", re.IGNORECASE)
_IMAGE_FIELDS = ("images", "image")


@dataclass(frozen=True, slots=True)
class Order:
    """A request and the names of its files. `file` is what it was read from; `images` is None where none is named and
    none is there yet."""

    file: UploadedFile
    data: Mapping[str, Any]
    images: tuple[str, ...] | None
    mask: str | None

    def named(self, files: Mapping[str, UploadedFile]) -> list[UploadedFile]:
        """The files of the order that are there."""
        names = (*(self.images or ()), *((self.mask,) if self.mask else ()))
        return [files[name] for name in names if name in files]

    def is_whole(self, files: Mapping[str, UploadedFile]) -> bool:
        """Whether all that is named is there."""
        wanted = len(self.images or ()) + (self.mask is not None)
        return self.images is not None and len(self.named(files)) == wanted


def order_file(files: Mapping[str, UploadedFile]) -> UploadedFile | None:
    """The file an order is read from; None while there is none. Raises `invalid_value` for two."""
    if REQUEST in files:
        return files[REQUEST]
    asking = [file for file in _candidates(files) if asks(file.metadata)]
    if len(asking) > 1:
        raise _ambiguous(asking)
    return asking[0] if asking else None


async def read_order(folder: UploadFolder, file: UploadedFile, files: Mapping[str, UploadedFile]) -> Order:
    """The order in `file`, checked as far as it can be without the images. Raises `DarkroomError` naming the field."""
    data = await _json(folder, file) if file.name == REQUEST else parse_blob_metadata(file.metadata)
    data = {name: value for name, value in data.items() if value is not None}
    order = Order(
        file,
        {name: value for name, value in data.items() if name not in (*_IMAGE_FIELDS, "mask")},
        _images(data, file, files),
        _file_name("mask", data["mask"]) if "mask" in data else None,
    )
    _check(order)
    return order


def check_sizes(files: Sequence[UploadedFile]) -> None:
    """Raises `image_too_large` before anything is copied."""
    for file in files:
        if file.bytes > MAX_IMAGE_BYTES:
            raise DarkroomError(
                "image_too_large",
                f"'{file.name}' has {file.bytes} bytes; an image may have at most {MAX_IMAGE_BYTES // 2**20} MiB.",
            )


async def _json(folder: UploadFolder, file: UploadedFile) -> dict[str, Any]:
    if file.bytes > MAX_REQUEST_BYTES:
        raise DarkroomError(
            "request_too_large", f"{REQUEST} has {file.bytes} bytes; at most {MAX_REQUEST_BYTES} are taken."
        )
    data = strict_json.parse(await folder.read(file), REQUEST)
    if not isinstance(data, dict):
        raise DarkroomError("invalid_type", f"Expected {REQUEST} to be a JSON object.")
    return data


def _images(data: Mapping[str, Any], file: UploadedFile, files: Mapping[str, UploadedFile]) -> tuple[str, ...] | None:
    present = [name for name in _IMAGE_FIELDS if name in data]
    if len(present) > 1:
        raise invalid("image", "Invalid 'image': 'image' and 'images' are two names of one field; send one.")
    if present:
        value = data[present[0]]
        names = value if isinstance(value, list) else [value]
        if not 1 <= len(names) <= _MAX_IMAGES:
            raise invalid(present[0], f"Invalid '{present[0]}': expected 1 to {_MAX_IMAGES} file names.")
        return tuple(
            _file_name(f"{present[0]}[{position}]" if isinstance(value, list) else present[0], name)
            for position, name in enumerate(names)
        )
    if data.get("kind") == "generate":
        return ()
    if file.name != REQUEST:
        return (file.name,)
    candidates = _candidates(files)
    if len(candidates) > 1:
        raise _ambiguous(candidates)
    return (candidates[0].name,) if candidates else None


def _candidates(files: Mapping[str, UploadedFile]) -> list[UploadedFile]:
    return [file for name, file in sorted(files.items()) if _IMAGE.fullmatch(name)]


def _ambiguous(files: Sequence[UploadedFile]) -> DarkroomError:
    names = ", ".join(file.name for file in files)
    return invalid("images", f"The folder holds {names}: name in 'images' which are meant, or leave one there.")


def _file_name(param: str, value: Any) -> str:
    """A plain name, so that an order reaches nothing outside its folder."""
    wrong = invalid(param, f"Invalid '{param}': expected the name of a file in this folder, such as 'mask.png'.")
    if not isinstance(value, str):
        raise wrong
    text(param, value, most=_MAX_NAME_CHARS)
    if re.search(r"[/\\\x00-\x1f\x7f-\x9f]", value) or value in (".", "..", REQUEST, *NOTES):
        raise wrong
    return value


def _check(order: Order) -> None:
    """The rules every door has, with placeholders for the files."""
    count = 1 if order.images is None else len(order.images)
    accept.parse(
        order.data,
        kind=None,
        images=[Source(stored=f"source-{position}") for position in range(count)],
        mask=Source(stored="mask") if order.mask else None,
    )
