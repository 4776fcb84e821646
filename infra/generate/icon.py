"""The connector's icon: a print in its tray under a red lamp, drawn here so that nobody has to wonder whose it is.

Square, 100 to 230 pixels, under 1 MB, no rounded corners and no transparency, on the brand's colour: what Microsoft
asks of icons (learn.microsoft.com/connectors/custom-connectors/certification-submission).
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

SIDE = 160
_SCALE = 4
_PAPER, _INK, _LAMP = "#F6EFE6", "#7A1F2B", "#FFB9A8"


def png(color: str) -> bytes:
    """The icon on a ground of `color` (`#rrggbb`)."""
    side = SIDE * _SCALE
    image = Image.new("RGB", (side, side), color)
    draw = ImageDraw.Draw(image)

    def at(*values: float) -> list[float]:
        return [value * side for value in values]

    draw.polygon(at(0.40, 0.10, 0.60, 0.10, 0.70, 0.26, 0.30, 0.26), fill=_PAPER)
    draw.ellipse(at(0.43, 0.20, 0.57, 0.34), fill=_LAMP)
    draw.rectangle(at(0.20, 0.42, 0.80, 0.88), fill=_PAPER)
    draw.rectangle(at(0.26, 0.48, 0.74, 0.82), fill=_INK)
    draw.ellipse(at(0.58, 0.53, 0.67, 0.62), fill=_LAMP)
    draw.polygon(at(0.26, 0.82, 0.26, 0.74, 0.40, 0.58, 0.52, 0.72, 0.60, 0.66, 0.74, 0.80, 0.74, 0.82), fill=_PAPER)
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
