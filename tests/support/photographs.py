"""Source images and masks of edits, as people send them; small, so that tests stay quick."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageDraw

SIDE = 256


@cache
def photograph(image_format: str = "PNG", *, shade: int = 0, side: int = SIDE) -> bytes:
    """An opaque picture with a gradient and a disc; `shade` (0 to 255) tells one from another."""
    image = Image.merge(
        "RGB",
        (
            Image.linear_gradient("L").resize((side, side)),
            Image.radial_gradient("L").resize((side, side)),
            Image.new("L", (side, side), shade),
        ),
    )
    ImageDraw.Draw(image).ellipse((side // 4, side // 4, side // 2, side // 2), fill="white")
    return _encoded(image, image_format)


@cache
def mask(side: int = SIDE) -> bytes:
    """A PNG whose middle is transparent: that is where the edit goes."""
    image = Image.new("RGBA", (side, side), "black")
    ImageDraw.Draw(image).rectangle((side // 4, side // 4, side * 3 // 4, side * 3 // 4), fill=(0, 0, 0, 0))
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, image_format: str) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format)
    return content.getvalue()
