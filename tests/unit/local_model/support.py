"""What the tests of the GPT-Image server share: pictures to send, answers to take apart, a manifest reader."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import c2pa
import httpx
import jwt
from PIL import Image

DATED = "/openai/deployments/gpt-image-1/images/{}?api-version=2025-04-01-preview"
GENERATIONS = DATED.format("generations")
EDITS = DATED.format("edits")
V1_GENERATIONS = "/openai/v1/images/generations"
V1_EDITS = "/openai/v1/images/edits"
KEY = {"api-key": "some-key"}
PROMPT = {"prompt": "a small boat", "quality": "low"}


def png(width: int = 64, height: int = 64, colour: str = "teal", mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, (width, height), colour))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def mask(width: int, height: int, hole: tuple[int, int, int, int]) -> bytes:
    image = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), hole)
    return encoded(image)


def part(content: bytes, field: str = "image", content_type: str = "image/png", filename: str = "a.png") -> Any:
    return (field, (filename, content, content_type))


def token(audience: str = "https://cognitiveservices.azure.com", expires: float = 4e9) -> str:
    claims = {
        "aud": audience,
        "exp": expires,
        "oid": "11111111-0000-0000-0000-000000000000",
        "iss": "https://sts.windows.net/x/",
    }
    return jwt.encode(claims, "a secret of the local identity endpoint, long enough", algorithm="HS256")


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


def first_bytes(answer: httpx.Response, index: int = 0) -> bytes:
    return base64.b64decode(answer.json()["data"][index]["b64_json"], validate=True)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def read_manifest(
    content: bytes, authority: Path | None, content_type: str = "image/png", **trust: str
) -> tuple[str, dict[str, Any]]:
    """Validation state, and the manifest store as JSON."""
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False}, "trust": dict(trust)}
    if authority is not None:
        settings["trust"]["user_anchors"] = authority.read_text()
    reader = c2pa.Reader(content_type, io.BytesIO(content), context=c2pa.Context.from_dict(settings))
    with reader:
        return reader.get_validation_state(), json.loads(reader.json())


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events as (name, data)."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines and lines["data"] != "[DONE]":
            found.append((lines.get("event", ""), json.loads(lines["data"])))
    return found
