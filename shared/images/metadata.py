"""The caller's own pairs: what is accepted, and how they ride on a blob.

Blob metadata takes ASCII only, so the pairs travel as one entry `darkroom_metadata` of percent-encoded JSON. Whatever
`check_metadata` accepts, `encode_metadata` can carry: nothing a caller sent may make storing fail after the image was
paid for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from shared.errors import DarkroomError
from shared.images.fields import refuse_unencodable, shown, wrong_type

MAX_PAIRS = 16
MAX_KEY_CHARS = 64
MAX_VALUE_CHARS = 512
# A blob's metadata may take 8 KiB in all, names included; ours leaves room for job, model, size and the rest.
# https://learn.microsoft.com/rest/api/storageservices/setting-and-retrieving-properties-and-metadata-for-blob-resources
MAX_ENCODED_BYTES = 6 * 1024


def check_metadata(value: Any) -> dict[str, str]:
    """`value` as pairs of strings.

    Raises `DarkroomError` with `param` `metadata` or `metadata.<key>`; values are never repeated.
    """
    if not isinstance(value, Mapping):
        raise wrong_type("metadata", "an object of strings", value)
    if len(value) > MAX_PAIRS:
        raise _refusal("metadata", f"it has {len(value)} pairs; at most {MAX_PAIRS} are kept")
    pairs: dict[str, str] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise wrong_type("metadata", "an object whose keys are strings", key)
        param = f"metadata.{shown(key)}"
        if not 1 <= len(key) <= MAX_KEY_CHARS:
            raise _refusal(param, f"a key has 1 to {MAX_KEY_CHARS} characters, this one has {len(key)}")
        if not isinstance(item, str):
            raise wrong_type(param, "a string", item)
        if len(item) > MAX_VALUE_CHARS:
            raise _refusal(param, f"a value has at most {MAX_VALUE_CHARS} characters, this one has {len(item)}")
        refuse_unencodable(param, key)
        refuse_unencodable(param, item)
        pairs[key] = item
    encoded = len(encode_metadata(pairs))
    if encoded > MAX_ENCODED_BYTES:
        raise _refusal(
            "metadata",
            f"it takes {encoded} bytes as percent-encoded JSON, at most {MAX_ENCODED_BYTES} fit beside an image "
            "(a letter outside ASCII takes 6 or more); shorten the values",
        )
    return pairs


def encode_metadata(pairs: Mapping[str, str]) -> str:
    """`pairs` as percent-encoded compact JSON: letters, digits and `%-._~` only, safe in one `x-ms-meta-` header."""
    return quote(json.dumps(dict(pairs), ensure_ascii=False, separators=(",", ":")), safe="")


def decode_metadata(encoded: str) -> dict[str, str]:
    """The pairs `encode_metadata` wrote. Raises `ValueError` for anything else."""
    pairs = json.loads(unquote(encoded, errors="strict"))
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise ValueError("this is no encoded metadata")
    return pairs


def _refusal(param: str, what: str) -> DarkroomError:
    return DarkroomError("invalid_value", f"Invalid '{param}': {what}.", param=param)
