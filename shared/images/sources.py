"""Where the images of an edit come from: a blob, data in the request itself, a URL, or a file a door has stored.

A door hands in what the caller wrote; out comes a `Source` whose form has been checked. Whether the blob may be read
or the host be asked is decided where that is done, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shared.errors import DarkroomError
from shared.images.fields import invalid, refuse_unknown, text, wrong_type

MAX_IMAGE_BYTES = 50 * 2**20
"""Bytes of one source image: "less than 50 MB" by the images API (Azure's dated specification says 25 MB; the service
is left to say so, since a deployment's version is not known here)."""

MAX_BLOB_NAME_CHARS = (
    1_024  # https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
)
MAX_URL_CHARS = 8_192
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9](?:-?[a-z0-9])*")
_DATA_URL = re.compile(r"data:(?P<type>[A-Za-z0-9.+/-]*)(?:;[A-Za-z0-9=.+_-]+)*?(?P<base64>;base64)?,", re.IGNORECASE)
_BASE64_HEAD = re.compile(r"\s*[A-Za-z0-9+/][A-Za-z0-9+/=\s]*")
_HEAD_CHARS = 128
_SPACES = " \n\r\t"
_KINDS = ("blob", "data", "url")


@dataclass(frozen=True, slots=True)
class Source:
    """One image or mask; exactly one of the first four is set. `stored` is the name under which a door has put a file
    already: it never comes from outside. Neither data nor URLs show in `repr`, which may reach a log.

    `param` is where the caller wrote it (`images[0].image_url`), for refusals; two sources are the same without it."""

    blob: str | None = None
    data: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    stored: str | None = None
    param: str = field(default="image", compare=False)

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.blob, self.data, self.url, self.stored)) != 1:
            raise ValueError("a source is exactly one of blob, data, url and stored")

    @property
    def kind(self) -> str:
        return next(iter(self.to_dict()))

    @property
    def value(self) -> str:
        return next(iter(self.to_dict().values()))

    def to_dict(self) -> dict[str, str]:
        members = {"blob": self.blob, "data": self.data, "url": self.url, "stored": self.stored}
        return {name: value for name, value in members.items() if value is not None}

    def public_dict(self) -> dict[str, str]:
        """What may be shown: image data left out, the query of a URL (it carries a signature) as `?…`."""
        if self.data is not None:
            return {"data": "…"}
        if self.url is not None:
            return {"url": without_query(self.url)}
        return self.to_dict()


def without_query(url: str) -> str:
    """`url` with `?…` for its query string, which may carry a signature."""
    head, mark, _ = url.partition("?")
    return head + "?…" if mark else url


def source_of(param: str, value: Any) -> Source:
    """The source written as `value`: an object with one of blob, data, url (or image_url, as OpenAI's JSON edits have
    it), or a string of base64, a data URL or an https URL."""
    if isinstance(value, str):
        return _from_text(param, value)
    if not isinstance(value, Mapping):
        raise wrong_type(param, "an object or a string", value)
    members = {str(name): item for name, item in value.items() if item is not None}
    if "file_id" in members:
        raise DarkroomError(
            "unsupported_parameter",
            f"'{param}.file_id' names a file kept by OpenAI, which cannot be read from here; send the image as base64 "
            "in 'data', or as 'blob' or 'url'.",
            param=f"{param}.file_id",
        )
    refuse_unknown(members, (*_KINDS, "image_url"), param)
    if len(members) != 1:
        raise invalid(param, f"Invalid '{param}': expected exactly one of 'blob', 'data', and 'url'.")
    ((name, item),) = members.items()
    where = f"{param}.{name}"
    if not isinstance(item, str):
        raise wrong_type(where, "a string", item)
    if name == "blob":
        return Source(blob=check_blob_name(where, item), param=where)
    if name == "data":
        return Source(data=_check_data(where, item), param=where)
    if name == "url":
        return Source(url=check_url(where, item), param=where)
    return _from_text(where, item)


def sources_of(param: str, value: Any, most: int, *, before: int = 0) -> tuple[Source, ...]:
    """The sources of a list of at most `most`, or of one source alone; `before` came already, as files of a form."""
    if not isinstance(value, list | tuple):
        return (source_of(f"{param}[{before}]" if before else param, value),)
    if len(value) > most:
        # Before the items are looked at: a list may hold anything, a million times.
        raise invalid(param, f"Invalid '{param}': array too long. Expected at most {most} items, got {len(value)}.")
    return tuple(source_of(f"{param}[{position}]", item) for position, item in enumerate(value, before))


def check_blob_name(param: str, value: str) -> str:
    """`value` as `container/name` without any way out of its container. Which containers are open is not asked here."""
    text(param, value, most=MAX_BLOB_NAME_CHARS)
    container, _, name = value.partition("/")
    if not _CONTAINER.fullmatch(container) or not name:
        raise invalid(param, f"Invalid '{param}': expected 'container/name'.")
    if re.search(r"[\\%?#\x00-\x1f\x7f-\x9f]", value) or any(part in ("", ".", "..") for part in name.split("/")):
        raise invalid(
            param,
            f"Invalid '{param}': a blob name here has no empty, '.' or '..' segment, no control character and none of "
            "'\\', '%', '?', '#'.",
        )
    return value


def check_url(param: str, value: str) -> str:
    """`value` as an https URL without user information or fragment. Whether anybody goes there is not asked here."""
    text(param, value, most=MAX_URL_CHARS)
    try:
        parts = urlsplit(value)
        fits = (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.port != 0  # a port that is none raises ValueError
            and "@" not in parts.netloc
            and "#" not in value
            and value.isascii()
            and value.isprintable()
            and not set(value) & set(' \\"<>')
        )
    except ValueError:
        fits = False
    if not fits:
        raise invalid(
            param,
            f"Invalid '{param}': expected an https URL, percent-encoded (a host name with other letters in its xn-- "
            "form), without user name or fragment.",
        )
    return value


def decode_source_data(data: str, cap: int = MAX_IMAGE_BYTES, *, param: str = "image") -> bytes:
    """The bytes of base64 text or of a base64 data URL; white space between the characters is tolerated.

    The media type of a data URL is not believed: `pixels.inspect` goes by the bytes. Raises `invalid_image`, or
    `image_too_large` for more than `cap` bytes (looked at before decoding).
    """
    import pybase64

    start = _base64_start(param, data)
    if not data.isascii():
        raise _broken(param)
    body: str | bytes = data[start:]
    if any(space in data for space in _SPACES):
        body = data[start:].encode("ascii").translate(None, _SPACES.encode())
    if len(body) // 4 * 3 - 2 > cap:
        raise _too_large(param, cap)
    try:
        decoded = pybase64.b64decode(body, validate=True)
    except ValueError:
        raise _broken(param) from None
    if not decoded:
        raise _broken(param)
    if len(decoded) > cap:
        raise _too_large(param, cap)
    return decoded


def _from_text(param: str, value: str) -> Source:
    if value[:8].lower() == "https://":
        return Source(url=check_url(param, value), param=param)
    return Source(data=_check_data(param, value), param=param)


def _check_data(param: str, value: str) -> str:
    """The cheap half of decoding, so that a slip is told at once: form, length and the first characters."""
    start = _base64_start(param, value)
    if (len(value) - start) // 4 * 3 - 2 > MAX_IMAGE_BYTES * 1.1:  # line breaks may take a few in a hundred
        raise _too_large(param, MAX_IMAGE_BYTES)
    if not value.isascii() or not _BASE64_HEAD.fullmatch(value[start : start + _HEAD_CHARS]):
        raise _broken(param)
    return value


def _base64_start(param: str, value: str) -> int:
    """Where the base64 begins in `value`, which may be a data URL; nothing of tens of megabytes is copied to tell."""
    if value[:5].lower() != "data:":
        return 0
    head = _DATA_URL.match(value[:_HEAD_CHARS])
    if head is None or not head["base64"] or not head["type"].lower().startswith("image/"):
        raise DarkroomError(
            "invalid_image",
            f"Invalid '{param}': a data URL here reads 'data:image/png;base64,' (or image/jpeg) and then the data.",
            param=param,
        )
    return head.end()


def _broken(param: str) -> DarkroomError:
    return DarkroomError(
        "invalid_image",
        f"Invalid '{param}': expected an image as base64 text (standard alphabet, padded) or as a base64 data URL.",
        param=param,
    )


def _too_large(param: str, cap: int) -> DarkroomError:
    return DarkroomError("image_too_large", f"Invalid '{param}': an image has at most {cap // 2**20} MiB.", param=param)
