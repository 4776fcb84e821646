"""Draws small vector figures: lists of strokes in a unit square, painted three times too large and scaled down smooth.

A stroke is (kind, role, numbers). Kinds: `e` ellipse by its box, `p` polygon, `s` closed smooth curve through points,
`l` line (width first), smooth through more than two points. Roles name colours of a palette, so that one figure can be
painted in any light. y runs down; 1 is the ground.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from local.model.pictures.canvas import Colour, mixed, scaled, to_bytes

Stroke = tuple[str, str, tuple[float, ...]]
_OVERSIZE = 3


def paint_figure(strokes: tuple[Stroke, ...], size: int, palette: dict[str, Colour]) -> Image.Image:
    """The figure as an RGBA image of `size` by `size` pixels, lit from the upper left."""
    large = size * _OVERSIZE
    sheet = Image.new("RGBA", (large, large), (0, 0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    for kind, role, numbers in strokes:
        colour = (*to_bytes(palette[role]), 255)
        places = [number * large for number in numbers]
        if kind == "e":
            draw.ellipse(places[:4], fill=colour)
        elif kind == "l":
            points = list(zip(places[1::2], places[2::2], strict=True))
            _stroke(draw, _smooth_line(points) if len(points) > 2 else points, places[0], colour)
        else:
            points = list(zip(places[::2], places[1::2], strict=True))
            draw.polygon(_smooth(points) if kind == "s" else points, fill=colour)
    figure = sheet.resize((size, size), Image.Resampling.LANCZOS)
    return _modelled(figure)


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed Catmull-Rom curve through the points."""
    knots = np.array(points)
    before, after, beyond = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    steps = np.linspace(0, 1, 14, endpoint=False)[:, None, None]
    curve = 0.5 * (
        2 * knots
        + (after - before) * steps
        + (2 * before - 5 * knots + 4 * after - beyond) * steps**2
        + (3 * knots - before - 3 * after + beyond) * steps**3
    )
    return [(float(x), float(y)) for x, y in curve.transpose(1, 0, 2).reshape(-1, 2)]


def _smooth_line(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """An open Catmull-Rom curve: the closed one through the points and back, of which the way there is kept."""
    there_and_back = [*points, *points[-2:0:-1]]
    return _smooth(there_and_back)[: 14 * (len(points) - 1) + 1]


def _stroke(
    draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], width: float, colour: tuple[int, int, int, int]
) -> None:
    """A line with round ends."""
    draw.line(points, fill=colour, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)


def _modelled(figure: Image.Image) -> Image.Image:
    """Roundness: the figure's own outline, blurred and shifted, lightens one side and darkens the other."""
    alpha = figure.getchannel("A")
    size = figure.width
    soft = alpha.filter(ImageFilter.GaussianBlur(size / 22))
    reach = max(1, size // 28)
    lit = np.asarray(soft, np.float32) - np.roll(np.asarray(soft, np.float32), (reach, reach), (0, 1))
    pixels = np.asarray(figure, np.float32).copy()
    pixels[:, :, :3] = np.clip(pixels[:, :, :3] + (lit * 0.42)[:, :, None], 0, 255)
    return Image.fromarray(pixels.astype(np.uint8), "RGBA")


def palette_for(body: Colour, *, shadow: Colour, highlight: Colour) -> dict[str, Colour]:
    """The roles of a figure from its main colour and the light of its scene."""
    return {
        "body": body,
        "shade": mixed(scaled(body, 0.68), shadow, 0.22),
        "light": mixed(body, highlight, 0.45),
        "pale": mixed(highlight, body, 0.12),
        "dark": mixed(shadow, (0.06, 0.06, 0.09), 0.72),
        "warm": mixed((0.9, 0.42, 0.2), highlight, 0.12),
        "leaf": mixed((0.24, 0.5, 0.26), shadow, 0.15),
        "wood": mixed((0.42, 0.27, 0.16), shadow, 0.2),
        "glass": mixed((0.62, 0.84, 0.94), highlight, 0.2),
        "gold": mixed((1.0, 0.82, 0.4), highlight, 0.15),
        "pink": mixed((0.93, 0.55, 0.58), highlight, 0.1),
    }
