"""A request in the metadata of an uploaded blob, for flows that can set metadata and cannot write JSON.

Metadata is header text: ASCII names in any case, ASCII values. So values are read as a form's are, and those that may
be of any script (`prompt`, file names, `user`) percent-decoded. Names that are nobody's field are left alone, since
storage tools write their own (`mtime`, `hdi_isfolder`); one that looks like a slip is refused before it costs money.
"""

from __future__ import annotations

import binascii
import difflib
import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from shared.errors import DarkroomError
from shared.images.fields import invalid, shown
from shared.images.form import parse_form
from shared.images.metadata import decode_metadata

PROMPTS = ("prompt", "prompt_base64")
_PERCENT_ENCODED = ("prompt", "mask", "user")
_AS_WRITTEN = (
    *("kind", "model", "n", "size", "quality", "output_format", "output_compression", "background", "moderation"),
    *("input_fidelity", "boxes", "callback_url", "style", "response_format", "stream", "partial_images"),
    "preserve",
)
_FILES = ("images", "image")
_PAIRS = "darkroom_metadata"
_FIELDS = (*PROMPTS, *_PERCENT_ENCODED[1:], *_AS_WRITTEN, *_FILES, _PAIRS)
_ALIKE = 0.8


def asks(metadata: Mapping[str, str]) -> bool:
    """Whether `metadata` (lower-case names) holds a request: it has a prompt."""
    return any(name in metadata for name in PROMPTS)


def parse_blob_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The request in `metadata` in the types of a JSON body; `images` is a list of file names, as `mask` is one.

    Raises `DarkroomError` naming the metadata entry.
    """
    _refuse_slips(metadata)
    texts = {name: metadata[name] for name in _AS_WRITTEN if name in metadata}
    texts |= {name: _decoded(name, metadata[name]) for name in _PERCENT_ENCODED if name in metadata}
    data = parse_form(texts.items())
    if PROMPTS[1] in metadata:
        if PROMPTS[0] in metadata:
            raise invalid(PROMPTS[1], "Invalid 'prompt_base64': given beside 'prompt'; send one of them.")
        data["prompt"] = _from_base64(metadata[PROMPTS[1]])
    data |= {name: _names(name, metadata[name]) for name in _FILES if metadata.get(name)}
    if metadata.get(_PAIRS):
        data["metadata"] = _pairs(metadata[_PAIRS])
    return data


def _refuse_slips(metadata: Mapping[str, str]) -> None:
    for name in metadata:
        alike = [] if name in _FIELDS else difflib.get_close_matches(name, _FIELDS, n=1, cutoff=_ALIKE)
        if alike:
            raise DarkroomError(
                "unknown_parameter",
                f"Unknown metadata '{shown(name)}': did you mean '{alike[0]}'? Rename it, also if it is not meant for "
                "Darkroom.",
                param=shown(name),
            )


def _decoded(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise invalid(name, f"Invalid '{name}': expected percent-encoded UTF-8.") from None


def _from_base64(value: str) -> str:
    try:
        return b64decode("".join(value.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid(PROMPTS[1], "Invalid 'prompt_base64': expected base64 of UTF-8 text.") from None


def _names(name: str, value: str) -> Any:
    """File names, separated by commas and percent-encoded, or a JSON array of them."""
    if not value.lstrip().startswith("["):
        return [_decoded(name, part.strip()) for part in value.split(",")]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise invalid(name, f"Invalid '{name}': expected file names separated by commas, or a JSON array.") from None


def _pairs(value: str) -> dict[str, str]:
    try:
        return decode_metadata(value)
    except (ValueError, RecursionError):
        raise invalid(
            _PAIRS, "Invalid 'darkroom_metadata': expected an object of strings as percent-encoded JSON."
        ) from None
