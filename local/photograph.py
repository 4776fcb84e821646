"""A photograph to edit where none is at hand: a mountain lake in the evening, computed; and a mask for it.

The demo comes in here. What makes it look taken and not drawn: haze that grows with distance, a lake that mirrors what
stands above it, grain, and a lens that darkens towards the corners. The same every time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

type Floats = NDArray[np.float32]

WIDTH, HEIGHT = 1536, 1024
SHORE = 640
"""The row where the lake begins."""
CLEARING = (420, 60, 820, 460)
"""Left, top, right and bottom of a clear part of the sky, where the mask is transparent."""

_SUN = (1150, 560)
_ZENITH, _MIDDLE, _HORIZON = (38, 62, 110), (214, 132, 108), (255, 206, 140)
_HAZE = np.array((236, 168, 128), np.float32)
_RIDGES = (  # base row, height, number of peaks, colour, share of haze
    (560, 190, 5, (60, 62, 98), 0.62),
    (600, 130, 9, (38, 44, 66), 0.36),
    (634, 60, 17, (18, 24, 30), 0.1),
)


def photograph() -> Image.Image:
    """The picture, 1536 by 1024, RGB."""
    chance = np.random.default_rng(1839)  # the year in which the first darkrooms were built
    picture = _sky(chance)
    for base, height, peaks, colour, haze in _RIDGES:
        ridge = base - height * _outline(chance, peaks)
        land = np.array(colour, np.float32) * (1 - haze) + _HAZE * haze
        edge = np.clip(np.arange(SHORE)[:, None] - ridge[None, :], 0, 1)[:, :, None]
        picture[:SHORE] = picture[:SHORE] * (1 - edge) + land * edge
    _fill_lake(picture, chance)
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    vignette = 1 - 0.28 * (rows**2 + columns**2)[:, :, None] / 2
    grain = chance.normal(0, 3.5, (HEIGHT, WIDTH, 1))
    return Image.fromarray(np.clip(picture * vignette + grain, 0, 255).astype(np.uint8))


def mask() -> Image.Image:
    """RGBA of the photograph's size: opaque, but for a disc in the sky, which is where the edit goes."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 255))
    ImageDraw.Draw(image).ellipse(CLEARING, fill=(0, 0, 0, 0))
    return image


def _sky(chance: np.random.Generator) -> Floats:
    """The whole picture as sky: warm at the horizon, a low sun, a few torn clouds that it lights from below."""
    height = np.linspace(0, 1, SHORE, dtype=np.float32)
    stops = np.array((_ZENITH, _MIDDLE, _HORIZON), np.float32)
    column = np.stack([np.interp(height, (0, 0.72, 1), stops[:, band]) for band in range(3)], axis=1)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    picture[:SHORE] = column[:, None, :]
    rows, columns = np.mgrid[:SHORE, :WIDTH].astype(np.float32)
    distance = np.hypot(columns - _SUN[0], (rows - _SUN[1]) * 1.25)
    glow = np.exp(-distance / 230)[:, :, None] + 1.6 * np.exp(-((distance / 34) ** 2))[:, :, None]
    cover = _clouds(chance) * np.clip((rows - 40) / 260, 0, 1) * np.clip((560 - rows) / 160, 0, 1)
    lit = np.array((255, 170, 130), np.float32) * (0.72 + 0.28 * glow.clip(0, 1))
    cover = (0.75 * cover)[:, :, None]
    picture[:SHORE] = picture[:SHORE] * (1 - cover) + lit * cover + glow * np.array((120, 92, 48), np.float32)
    return picture


def _clouds(chance: np.random.Generator) -> Floats:
    """0 to 1: layers of noise, each finer and fainter than the last, drawn out sideways by the wind."""
    total = np.zeros((SHORE, WIDTH), np.float32)
    for octave in range(5):
        cells = chance.random((6 * 2**octave, 4 * 2**octave), np.float32)
        total += _stretched(cells, WIDTH, SHORE) / 2**octave
    total = (total - total.min()) / np.ptp(total)
    cover: Floats = np.clip((total - 0.52) * 3.2, 0, 1).astype(np.float32)
    return cover


def _outline(chance: np.random.Generator, peaks: int) -> Floats:
    """The height of a ridge in each column, 0 to 1: a few peaks, and rocks on them, and stones on those."""
    total = np.zeros(WIDTH, np.float32)
    for octave in range(6):
        heights = chance.random((1, peaks * 2**octave), np.float32)
        total += _stretched(heights, WIDTH, 1)[0] / 2.1**octave
    outline: Floats = ((total - total.min()) / np.ptp(total)).astype(np.float32)
    return outline


def _fill_lake(picture: Floats, chance: np.random.Generator) -> None:
    """Mirror what is above the shore, broken by ripples that grow towards the viewer; the deep is darker."""
    depth = np.arange(HEIGHT - SHORE)
    nearness = depth / depth.max()
    ripples = _stretched(chance.normal(0, 1, (160, 24)).astype(np.float32), WIDTH, len(depth))
    shift = (ripples * (2 + 26 * nearness[:, None] ** 1.3)).astype(int)
    source = np.clip(SHORE - 2 - (depth * 1.35).astype(int)[:, None] + shift, 0, SHORE - 1)
    mirrored = picture[source, np.arange(WIDTH)[None, :]]
    dark = np.array((24, 40, 58), np.float32)
    water = 0.22 + 0.38 * nearness[:, None, None]
    picture[SHORE:] = mirrored * (1 - water) + dark * water


def _stretched(cells: Floats, width: int, height: int) -> Floats:
    """A coarse grid of values as a smooth field."""
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC), np.float32)
