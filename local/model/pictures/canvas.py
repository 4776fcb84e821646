"""The sheet a picture is painted on: linear-in-value RGB floats, with the few strokes that backdrops and terrain need.

All coordinates are pixels from the top left; colours are RGB floats from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]


def rgb(code: int) -> Colour:
    """0xRRGGBB as floats."""
    return ((code >> 16) / 255, (code >> 8 & 255) / 255, (code & 255) / 255)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with a share (0 to 1) of `second`."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def scaled(colour: Colour, factor: float) -> Colour:
    return (min(1.0, colour[0] * factor), min(1.0, colour[1] * factor), min(1.0, colour[2] * factor))


def luminance(colour: Colour) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


def to_bytes(colour: Colour) -> tuple[int, int, int]:
    return (round(colour[0] * 255), round(colour[1] * 255), round(colour[2] * 255))


class Canvas:
    """A float image and its random generator. `detail` is 0 (low), 1 (medium) or 2 (high and above)."""

    def __init__(self, width: int, height: int, detail: int, random: np.random.Generator) -> None:
        self.width, self.height, self.detail, self.random = width, height, detail, random
        self.pixels: Floats = np.zeros((height, width, 3), np.float32)
        self.columns: Floats = np.arange(width, dtype=np.float32)
        self.rows: Floats = np.arange(height, dtype=np.float32)[:, None]

    def gradient(self, stops: list[tuple[float, Colour]]) -> None:
        """Fill everything from top to bottom; stops are (fraction of the height, colour)."""
        places = [place for place, _ in stops]
        rows = self.rows[:, 0] / self.height
        for channel in range(3):
            self.pixels[:, :, channel] = np.interp(rows, places, [colour[channel] for _, colour in stops])[:, None]

    def blend(self, cover: Floats, colour: Colour, top: int = 0) -> None:
        """Lay a colour over the rows from `top`, as far as `cover` (rows by columns, 0 to 1) says."""
        part = self.pixels[top : top + cover.shape[0]]
        part += (np.array(colour, np.float32) - part) * cover[:, :, None]

    def glow(self, light: Floats, colour: Colour, top: int = 0) -> None:
        """Add light (screen mode) to the rows from `top`."""
        part = self.pixels[top : top + light.shape[0]]
        part += (1.0 - part) * (light[:, :, None] * np.array(colour, np.float32))

    def below(self, profile: Floats, upper: Colour, lower: Colour) -> None:
        """Fill under a profile (a row for each column), from the colour `upper` at its top to `lower` at the bottom."""
        first = max(0, int(profile.min()) - 1)
        rows = self.rows[first:]
        if not rows.size:
            return
        cover = np.clip(rows - profile + 0.5, 0, 1)
        share = ((rows - first) / max(1, self.height - first))[:, :, None]
        shade = np.array(upper, np.float32) * (1 - share) + np.array(lower, np.float32) * share
        part = self.pixels[first:]
        part += (shade - part) * cover[:, :, None]

    def distance(self, x: float, y: float) -> Floats:
        away: Floats = np.hypot(self.columns - np.float32(x), self.rows - np.float32(y))
        return away

    def noise(self, height: int, across: int, down: int, octaves: int) -> Floats:
        """Smooth noise, `height` rows of the full width, about 0 to 1; `across` by `down` blots at its coarsest."""
        total = np.zeros((height, self.width), np.float32)
        strength, reach = 1.0, 0.0
        for _ in range(octaves):
            grid = self.random.random((max(2, down), max(2, across)), np.float32)
            total += strength * _stretched(grid, self.width, height)
            reach += strength
            strength, across, down = strength / 2, across * 2, down * 2
        return total / np.float32(reach)

    def line_noise(self, points: int, octaves: int) -> Floats:
        """Smooth noise along the width, about -1 to 1."""
        total = np.zeros(self.width, np.float32)
        strength, reach = 1.0, 0.0
        for _ in range(octaves):
            values = self.random.uniform(-1, 1, points + 3)
            places = np.linspace(-self.width / points, self.width * (1 + 1 / points), points + 3)
            total += strength * np.interp(self.columns, places, values).astype(np.float32)
            reach += strength
            strength, points = strength * 0.48, points * 2
        return total / np.float32(reach)

    def image(self) -> Image.Image:
        return Image.fromarray((np.clip(self.pixels, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")


def _stretched(grid: Floats, width: int, height: int) -> Floats:
    return np.asarray(Image.fromarray(grid, "F").resize((width, height), Image.Resampling.BICUBIC), np.float32)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    share = np.clip((value - low) / (high - low), 0, 1)
    smooth: Floats = share * share * (3 - 2 * share)
    return smooth
