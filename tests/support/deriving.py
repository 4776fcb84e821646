"""What tests of derived images share: requests for them, and a look at what came of them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

from PIL import Image

from tests.support.app_in_process import App
from tests.support.photographs import mask, photograph

SOURCE = {"data": base64.b64encode(photograph("JPEG")).decode()}
MASK = {"data": base64.b64encode(mask()).decode()}
EXACT = {"images": [SOURCE], "mask": MASK, "preserve": "exact"}


def rgba(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA")


def assert_the_models_own(app: App, image: dict[str, Any]) -> None:
    """The stored original is what the model sent, to the byte."""
    (called,) = app.model.calls()
    stored = app.storage.read(image["blob"])
    assert hashlib.sha256(stored).hexdigest() == image["sha256"] == called["images"][image["index"]]["sha256"]
    assert image["provenance"]["state"] == "valid"


def sidecar_of(app: App, blob: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(app.storage.read(f"{blob.rpartition('.')[0]}.json"))
    return found
