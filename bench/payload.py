"""What is measured with: a signed PNG of noise, the worst case for size, and answers of the model that hold it."""

from __future__ import annotations

import base64
import io
import json
import secrets
from pathlib import Path

from PIL import Image

from local.model.provenance import ImageSigner

WIDTH, HEIGHT = 1024, 982  # 3.02 MB of PNG when nothing in it can be compressed


def signed_png(directory: Path, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of random pixels with a C2PA manifest (`caBX`), signed by the local model server's test certificate."""
    stream = io.BytesIO()
    noise = Image.frombytes("RGB", (width, height), secrets.token_bytes(width * height * 3))
    noise.save(stream, "png", compress_level=1)
    return ImageSigner(directory).sign(stream.getvalue(), "image/png", "claimSigning", "bench", [])


def answer(image: bytes, count: int) -> bytes:
    """The body of an answer with `count` times that image, as the images API writes it."""
    verdicts = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
    item = {"b64_json": base64.b64encode(image).decode(), "content_filter_results": verdicts}
    usage = {
        "total_tokens": 50 + 4160 * count,
        "input_tokens": 50,
        "output_tokens": 4160 * count,
        "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
    }
    return json.dumps({"created": 1_760_000_000, "data": [item] * count, "usage": usage}).encode()
