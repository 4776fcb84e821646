"""The land and water of a scene, painted back to front: each place has its painter, found in `PAINTERS`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from local.model.pictures.backdrop import HORIZONS, Light
from local.model.pictures.canvas import Canvas, Colour, Floats, mixed, rgb, scaled, smoothstep
from local.model.pictures.scene import Scene
from local.model.pictures.things import THINGS


def paint_terrain(canvas: Canvas, scene: Scene, light: Light) -> None:
    """Everything between the sky and the things in front."""
    PAINTERS[scene.place](canvas, scene, light)
    if "fog" in scene.weather:
        _fog(canvas, light)


def _horizon(canvas: Canvas, scene: Scene) -> float:
    return HORIZONS[scene.place] * canvas.height


def _ridge(canvas: Canvas, base: float, swing: float, points: int, *, sharp: bool) -> Floats:
    noise = canvas.line_noise(points, 4 + canvas.detail if sharp else 2)
    if sharp:
        noise = 1 - 2 * np.abs(noise)
    return (base - swing * noise).astype(np.float32)


def _sea(canvas: Canvas, scene: Scene, light: Light) -> None:
    horizon = int(_horizon(canvas, scene))
    far = mixed(light.middle, light.zenith, 0.35)
    canvas.below(
        _ridge(canvas, horizon - canvas.height * 0.02, canvas.height * 0.035, 4, sharp=False),
        mixed(far, light.horizon, 0.35),
        far,
    )
    rows = canvas.height - horizon
    level = np.full(canvas.width, horizon, np.float32)
    canvas.below(
        level, mixed(light.horizon, light.middle, 0.55), scaled(mixed(light.zenith, rgb(0x0B3A55), 0.45), 0.75)
    )
    depth = np.arange(rows, dtype=np.float32) / rows
    # Waves are fine at the horizon and broad in front: rows of the noise are repeated more and more.
    picked = (np.log1p(depth * 24) * 34).astype(int)
    streaks = canvas.noise(int(picked.max()) + 1, 14, int(picked.max()) + 1, 2)[picked]
    # How far each wave runs sideways differs from row to row.
    canvas.blend(smoothstep(0.55, 0.85, streaks) * np.float32(0.4), mixed(light.horizon, light.sun, 0.3), horizon)
    canvas.blend(smoothstep(0.45, 0.15, streaks) * np.float32(0.35), scaled(light.zenith, 0.5), horizon)
    if scene.hour != "storm":
        spread = canvas.width * (0.025 + 0.13 * depth[:, None])
        beside = np.abs(canvas.columns - light.x * canvas.width)
        path = np.exp(-((beside / spread) ** 2)) * smoothstep(0.36, 0.62, streaks)
        canvas.glow((path * 0.9).astype(np.float32), light.sun, horizon)
    if any(THINGS[name].stand == "ground" for name in scene.things):
        _shore(canvas, light)


def _shore(canvas: Canvas, light: Light) -> None:
    """A beach for what cannot stand on water."""
    edge = _ridge(canvas, canvas.height * 0.84, canvas.height * 0.012, 3, sharp=False)
    sand = light.lit(rgb(0xDDBE8C))
    canvas.below(edge - canvas.height * 0.008, mixed(light.sun, light.horizon, 0.3), sand)
    canvas.below(edge, scaled(sand, 0.8), scaled(sand, 0.55))


def _mountains(canvas: Canvas, _: Scene, light: Light) -> None:
    height = canvas.height
    rock = mixed(light.zenith, rgb(0x39424F), 0.5)
    for layer in range(3):
        near = layer / 2
        ridge = _ridge(canvas, height * (0.5 + 0.1 * layer), height * (0.2 - 0.03 * layer), 3 + 2 * layer, sharp=True)
        colour = mixed(light.horizon, rock, 0.35 + 0.5 * near)
        canvas.below(ridge, colour, mixed(colour, light.horizon, 0.45))
        _facets(canvas, ridge, light, 0.25 + 0.3 * near, snow=layer < 2, from_left=light.x < 0.5)
    pines = _conifers(canvas, _ridge(canvas, height * 0.86, height * 0.03, 4, sharp=False), 0.05, 0.09)
    canvas.below(pines, scaled(mixed(rock, rgb(0x1E3A30), 0.6), 0.6), scaled(rgb(0x0E1D1B), 0.8))


def _facets(
    canvas: Canvas, ridge: Floats, light: Light, strength: float, *, snow: bool, from_left: bool, smooth: int = 25
) -> None:
    """Sunlit sides and snow caps: slopes are lit by their direction, with edges that wander downhill.

    `smooth` is over how many columns the slope is taken: few for crags, many for dunes.
    """
    first = max(0, int(ridge.min()))
    rows = canvas.rows[first:]
    slope = np.gradient(_smoothed(ridge, smooth))
    facing = (np.clip(slope * 2.5, -1, 1) * (-1 if from_left else 1)).astype(np.float32)
    drift = np.cumsum(canvas.random.standard_normal(rows.shape[0])) * canvas.width / 700
    wander = (drift if snow or smooth < 60 else np.linspace(0, canvas.width * 0.08, rows.shape[0])).astype(int)
    columns = np.clip(np.arange(canvas.width)[None, :] + wander[:, None], 0, canvas.width - 1)
    lit = facing[columns]
    under = rows - ridge
    inside = np.clip(under + 0.5, 0, 1)
    reach = canvas.height * 0.2
    fade = np.clip(1 - under / reach, 0, 1)
    canvas.blend(
        (inside * np.clip(lit, 0, 1) * fade * strength).astype(np.float32), mixed(light.sun, light.horizon, 0.4), first
    )
    canvas.blend(
        (inside * np.clip(-lit, 0, 1) * fade * strength * 0.8).astype(np.float32), scaled(light.zenith, 0.6), first
    )
    if snow:
        tongue = canvas.height * (0.05 + 0.035 * canvas.line_noise(60, 2))
        high = np.clip((canvas.height * 0.5 - ridge) / (canvas.height * 0.12), 0, 1.4)
        cap = np.clip((tongue * high - under) / 2, 0, 1) * inside
        shade = np.where(lit > 0, 0.95, 0.6)
        canvas.blend((cap * shade).astype(np.float32), mixed(light.lit(rgb(0xFFFFFF)), light.sun, 0.25), first)


def _smoothed(profile: Floats, reach: int) -> Floats:
    """The profile averaged over `reach` columns."""
    half = reach // 2
    kernel = np.full(2 * half + 1, 1 / (2 * half + 1))
    return np.convolve(np.pad(profile, half, "edge"), kernel, "valid").astype(np.float32)


def _conifers(canvas: Canvas, base: Floats, shortest: float, tallest: float) -> Floats:
    """A profile of fir trees standing on `base`; heights in fractions of the picture."""
    profile = base.copy()
    x = 0.0
    while x < canvas.width:
        tall = canvas.height * float(canvas.random.uniform(shortest, tallest))
        half = tall * 0.2
        left, right = max(0, int(x - half)), min(canvas.width, int(x + half) + 1)
        away = np.abs(canvas.columns[left:right] - x) / half
        tiers = 1 - away + 0.05 * np.sin(away * 28 + 2)
        profile[left:right] = np.minimum(profile[left:right], base[left:right] - tall * np.clip(tiers, 0, 1))
        x += half * float(canvas.random.uniform(0.3, 0.75))
    return profile


def _forest(canvas: Canvas, scene: Scene, light: Light) -> None:
    height = canvas.height
    green = mixed(rgb(0x1F4A37), scene.colours[0], 0.25) if scene.colours else rgb(0x1F4A37)
    layers = 3 + (1 if canvas.detail else 0)
    for layer in range(layers):
        near = layer / (layers - 1)
        base = _ridge(canvas, height * (0.6 + 0.26 * near), height * 0.04, 3, sharp=False)
        trees = _conifers(canvas, base, 0.07 + 0.12 * near, 0.13 + 0.24 * near)
        colour = mixed(
            mixed(light.horizon, light.middle, 0.35), scaled(green, 0.35 + 0.5 * light.strength), 0.3 + 0.7 * near
        )
        canvas.below(trees, colour, mixed(colour, light.horizon, 0.5 * (1 - near)))
    ground = _ridge(canvas, height * 0.93, height * 0.015, 5, sharp=False)
    canvas.below(ground, scaled(green, 0.5), scaled(green, 0.22))


def _hills(canvas: Canvas, scene: Scene, light: Light) -> None:
    height = canvas.height
    grass = rgb(0x6E9E4B) if scene.hour != "night" else rgb(0x2E5A55)
    far = _ridge(canvas, height * 0.52, height * 0.09, 3, sharp=True)
    canvas.below(far, mixed(light.horizon, light.zenith, 0.42), mixed(light.horizon, light.zenith, 0.2))
    for layer in range(4):
        near = layer / 3
        ridge = _ridge(
            canvas, height * (0.58 + 0.1 * layer), height * (0.035 + 0.012 * layer), 2 + layer % 2, sharp=False
        )
        ridge = _smoothed(ridge, canvas.width // 12)
        colour = light.lit(mixed(mixed(grass, rgb(0xD8B85A), 0.35 * (layer % 2)), light.horizon, 0.5 * (1 - near)))
        canvas.below(ridge, mixed(colour, light.sun, 0.22), scaled(colour, 0.62))
        if canvas.detail and layer:
            _tufts(canvas, ridge, scaled(colour, 0.55), near)


def _tufts(canvas: Canvas, ridge: Floats, colour: Colour, near: float) -> None:
    """Rows of crop that follow the hill, closer together towards its top, fading downhill."""
    first = max(0, int(ridge.min()))
    under = np.maximum(canvas.rows[first:] - ridge, 0)
    scale = canvas.height / 1024 * (0.6 + near)
    rows = np.sin(np.sqrt(under / scale) * 3.2 + canvas.line_noise(6, 2))
    fade = np.clip(under / (8 * scale), 0, 1) * np.clip(1 - under / (190 * scale), 0, 1)
    canvas.blend(smoothstep(0.2, 0.9, rows) * fade * np.float32(0.3), colour, first)


def _desert(canvas: Canvas, scene: Scene, light: Light) -> None:
    sand = rgb(0xE2A866) if not scene.colours else mixed(rgb(0xE2A866), scene.colours[0], 0.4)
    for layer in range(4):
        near = layer / 3
        ridge = _ridge(
            canvas, canvas.height * (0.58 + 0.11 * layer), canvas.height * (0.05 + 0.02 * layer), 3, sharp=True
        )
        ridge = _smoothed(ridge, canvas.width // 16)
        colour = light.lit(mixed(light.horizon, sand, 0.35 + 0.65 * near))
        canvas.below(ridge, mixed(colour, light.sun, 0.35), scaled(colour, 0.75))
        _facets(canvas, ridge, light, 0.35 + 0.2 * near, snow=False, from_left=light.x < 0.5, smooth=canvas.width // 10)


def _city(canvas: Canvas, scene: Scene, light: Light) -> None:
    """Three rows of blocks; the windows are lit after dark. The street lies in front."""
    stone = mixed(light.zenith, rgb(0x3B4152), 0.4)
    street = int(canvas.height * 0.88)
    for layer in range(3):
        near = layer / 2
        base = mixed(light.horizon, stone, 0.3 + 0.6 * near)
        x = -float(canvas.random.uniform(0, 0.05)) * canvas.width
        while x < canvas.width:
            wide = canvas.width * float(canvas.random.uniform(0.045, 0.1)) * (0.7 + 0.6 * near)
            tall = canvas.height * float(canvas.random.uniform(0.16, 0.5)) * (1.05 - 0.45 * near)
            _block(canvas, scene, light, (x, wide, tall, street), base, near)
            x += wide * float(canvas.random.uniform(0.85, 1.15))
    canvas.below(np.full(canvas.width, street, np.float32), scaled(stone, 0.75), scaled(stone, 0.3))


def _block(
    canvas: Canvas, scene: Scene, light: Light, place: tuple[float, float, float, int], base: Colour, near: float
) -> None:
    x, wide, tall, street = place
    left, right, top = max(0, int(x)), min(canvas.width, int(x + wide)), int(street - tall)
    if right - left < 3:
        return
    colour = scaled(base, float(canvas.random.uniform(0.85, 1.12)))
    canvas.pixels[top:street, left:right] = colour
    shade = max(1, (right - left) // 5)
    side = slice(left, left + shade) if light.x > 0.5 else slice(right - shade, right)
    canvas.pixels[top:street, side] *= 0.8
    if canvas.random.random() < 0.25:
        mast = (left + right) // 2
        canvas.pixels[max(0, top - int(tall * 0.18)) : top, mast : mast + max(1, canvas.width // 500)] = colour
    pitch = max(4, int(canvas.width * (0.009 + 0.005 * near)))
    size = max(2, pitch * 5 // 9)
    shares = {"night": 0.55, "sunset": 0.4, "dawn": 0.25, "storm": 0.35}
    glowing = np.array(mixed(rgb(0xFFD27A), light.sun, 0.3), np.float32)
    dark = np.array(scaled(colour, 0.72), np.float32)
    for row in range(top + pitch, street - pitch, pitch):
        for column in range(left + pitch // 2, right - size, pitch):
            lit = canvas.random.random() < shares.get(scene.hour, 0.05)
            canvas.pixels[row : row + size, column : column + size] = glowing if lit else dark


def _space(canvas: Canvas, scene: Scene, light: Light) -> None:
    """Nothing but what the backdrop has: there is no ground in space."""


def _underwater(canvas: Canvas, _: Scene, light: Light) -> None:
    height = canvas.height
    sand = _ridge(canvas, height * 0.88, height * 0.03, 4, sharp=False)
    for layer in range(2):
        rock = _ridge(canvas, height * (0.78 + 0.08 * layer), height * 0.1, 6, sharp=True)
        canvas.below(rock, mixed(light.middle, light.horizon, 0.5 + 0.4 * layer), light.horizon)
    canvas.below(sand, mixed(light.middle, rgb(0xD9C48F), 0.4), mixed(light.horizon, rgb(0x8A7A55), 0.35))
    for _weed_number in range(10 + 8 * canvas.detail):
        x = float(canvas.random.uniform(0, canvas.width))
        colour = (rgb(0xE8617A), rgb(0xF2A03D), rgb(0x9A5FC0), rgb(0x4FB286))[int(canvas.random.integers(4))]
        _weed(canvas, x, height * float(canvas.random.uniform(0.08, 0.24)), mixed(colour, light.horizon, 0.35))


def _weed(canvas: Canvas, x: float, tall: float, colour: Colour) -> None:
    bottom = canvas.height * 0.97
    rows = np.arange(int(bottom - tall), int(bottom), dtype=np.float32)
    up = (bottom - rows) / tall
    sway = x + np.sin(up * 5 + x) * tall * 0.12
    width = canvas.width * 0.006 * (1.6 - up)
    cover = np.clip(width[:, None] - np.abs(canvas.columns - sway[:, None]) + 0.5, 0, 1)
    canvas.blend(cover.astype(np.float32), colour, int(bottom - tall))


def _table(canvas: Canvas, scene: Scene, light: Light) -> None:
    edge = int(_horizon(canvas, scene))
    wood = mixed(rgb(0x9A6B43), scene.colours[0], 0.12) if scene.colours else rgb(0x9A6B43)
    canvas.below(np.full(canvas.width, edge, np.float32), scaled(wood, 1.15), scaled(wood, 0.6))
    rows = canvas.height - edge
    grain = canvas.noise(rows, 3, 40, 3 + canvas.detail)
    canvas.blend(smoothstep(0.5, 0.75, grain) * np.float32(0.35), scaled(wood, 0.55), edge)
    canvas.glow(
        np.exp(-canvas.distance(canvas.width * (1 - light.x), edge)[edge:] / (canvas.width * 0.4)) * np.float32(0.25),
        light.sun,
        edge,
    )


def _abstract(canvas: Canvas, scene: Scene, light: Light) -> None:
    """For words that name no place: slow waves of colour, each with a lit crest."""
    colours = [*scene.colours, light.zenith, light.middle, light.horizon][:5]
    if not scene.colours:
        colours.insert(1, _companion(canvas, light.middle))
    layers = 6
    for layer in range(layers):
        base = canvas.height * (0.4 + 0.62 * layer / layers)
        wave = base + canvas.height * 0.07 * np.sin(
            canvas.columns / canvas.width * canvas.random.uniform(3, 7) + canvas.random.uniform(0, 6)
        )
        wave = (wave + canvas.height * 0.03 * canvas.line_noise(3, 1)).astype(np.float32)
        colour = mixed(colours[layer % len(colours)], light.zenith, 0.12 * layer)
        canvas.below(wave - canvas.height * 0.006, mixed(colour, light.sun, 0.6), colour)
        canvas.below(wave, mixed(colour, light.sun, 0.12), scaled(colour, 0.6))


def _companion(canvas: Canvas, colour: Colour) -> Colour:
    turned = (colour[1], colour[2], colour[0]) if canvas.random.random() < 0.5 else (colour[2], colour[0], colour[1])
    return mixed(turned, colour, 0.35)


def _fog(canvas: Canvas, light: Light) -> None:
    drift = canvas.noise(canvas.height, 2, 6, 4)
    low = np.clip((canvas.rows / canvas.height - 0.35) * 1.4, 0, 0.6)
    canvas.blend((smoothstep(0.2, 0.9, drift) * low).astype(np.float32), mixed(light.horizon, rgb(0xFFFFFF), 0.25))


PAINTERS: dict[str, Callable[[Canvas, Scene, Light], None]] = {
    "sea": _sea,
    "mountains": _mountains,
    "forest": _forest,
    "hills": _hills,
    "desert": _desert,
    "city": _city,
    "space": _space,
    "underwater": _underwater,
    "table": _table,
    "abstract": _abstract,
}
