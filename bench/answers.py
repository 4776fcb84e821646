"""The answers that the model server gives to gateways: files by name, and what their images are."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import events, payload

SMALL_SIZE: Final = (188, 184)
"""A PNG of noise of 0.107 MB, so an answer of 0.14 MB."""
PARTIAL_SIZE: Final = (1024, 488)  # 1.5 MB
PARTIALS: Final = 3


@dataclass(frozen=True, slots=True)
class Answers:
    """`files` by name: `tiny`, `small`, `n4`, `n10`, and two streams, `partials` as fast as it goes and `paced`.
    `sha256` is of the image in each document."""

    files: Mapping[str, Path]
    sha256: Mapping[str, str]

    def image(self, name: str) -> bytes:
        """The first image of the document `name`."""
        return base64.b64decode(json.loads(self.files[name].read_bytes())["data"][0]["b64_json"])

    def check(self, name: str, body: bytes) -> None:
        """Raise AssertionError unless `body` holds the images of the answer `name`, bit for bit."""
        data = json.loads(body)["data"]
        hashes = [hashlib.sha256(base64.b64decode(item["b64_json"])).hexdigest() for item in data]
        count = {"n4": 4, "n10": 10}.get(name, 1)
        assert hashes == [self.sha256[name]] * count, f"the images of '{name}' came otherwise than they were sent"


def write(directory: Path) -> Answers:
    large = payload.signed_png(directory)
    images = {
        "tiny": (payload.signed_png(directory, 24, 24), 1),
        "small": (payload.signed_png(directory, *SMALL_SIZE), 1),
        "n4": (large, 4),
        "n10": (large, 10),
    }
    files = {name: directory / f"{name}.json" for name in images}
    for name, (image, count) in images.items():
        files[name].write_bytes(payload.answer(image, count))
    partial = payload.signed_png(directory, *PARTIAL_SIZE)
    for name, speed in (("partials", None), ("paced", events.NETWORK)):
        files[name] = directory / f"{name}.sse"
        events.write(files[name], partial, PARTIALS, speed)
    return Answers(files, {name: hashlib.sha256(image).hexdigest() for name, (image, _) in images.items()})
