"""The sky of a scene: its colours by the hour, the sun or moon, stars and clouds; and what stands for a sky indoors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from local.model.pictures.canvas import Canvas, Colour, mixed, rgb, scaled, smoothstep
from local.model.pictures.scene import Scene


@dataclass(frozen=True)
class Light:
    """The light of a scene. `x` and `y` place the sun or moon in fractions of the picture."""

    zenith: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    strength: float
    """How bright things are lit, 0 to 1."""
    x: float
    y: float
    radius: float
    """Of the sun or moon, as a fraction of the shorter side."""

    def lit(self, colour: Colour, amount: float = 1.0) -> Colour:
        """A thing's own colour as it looks in this light."""
        tinted = mixed(scaled(colour, 0.35 + 0.65 * self.strength), self.horizon, 0.12)
        return mixed(colour, tinted, amount)


_SKIES = {
    "day": (0x2B74BD, 0x86BFE6, 0xE9F1E4, 0xFFF7DE, 1.0),
    "dawn": (0x4A5C97, 0xD99AA5, 0xFFDDB0, 0xFFF0C8, 0.85),
    "sunset": (0x2C2559, 0xB84A63, 0xFFB560, 0xFFE7A6, 0.68),
    "night": (0x060B24, 0x142A56, 0x3C5F8C, 0xF3F1DC, 0.36),
    "storm": (0x2B333D, 0x5B6872, 0xA3AEB0, 0xE6EBE6, 0.6),
    "space": (0x04040E, 0x0D0B2A, 0x231544, 0xFFE9C2, 0.7),
    "underwater": (0x4CC3CF, 0x177E9E, 0x062B4F, 0xE4FFF4, 0.75),
    "table": (0xE7D9C3, 0xDCC6A6, 0xC9AA83, 0xFFF6E2, 0.95),
}
HORIZONS = {"sea": 0.58, "mountains": 0.66, "forest": 0.62, "city": 0.7, "desert": 0.6, "hills": 0.6, "table": 0.66}


def light_of(scene: Scene, random: np.random.Generator) -> Light:
    """The light: by the place where that has its own, else by the hour, tinted by the prompt's first colour."""
    kind = scene.place if scene.place in ("space", "underwater", "table") else scene.hour
    zenith, middle, horizon, sun = (rgb(code) for code in _SKIES[kind][:4])
    if scene.colours:
        tint = scene.colours[0]
        middle, horizon = mixed(middle, tint, 0.32), mixed(horizon, tint, 0.2)
        zenith = mixed(zenith, scaled(tint, 0.5), 0.18)
    low = kind in ("sunset", "dawn")
    height = random.uniform(0.36, 0.5) if low else random.uniform(0.14, 0.26)
    return Light(
        zenith=zenith,
        middle=middle,
        horizon=horizon,
        sun=sun,
        strength=float(_SKIES[kind][4]),
        x=float(random.choice([random.uniform(0.2, 0.4), random.uniform(0.6, 0.8)])),
        y=float(height),
        radius=float(random.uniform(0.07, 0.1) if low else random.uniform(0.035, 0.055)),
    )


def paint_backdrop(canvas: Canvas, scene: Scene, light: Light) -> None:
    """Everything behind the land."""
    horizon = HORIZONS.get(scene.place, 1.0)
    canvas.gradient(
        [(0.0, light.zenith), (horizon * 0.62, light.middle), (horizon, light.horizon), (1.0, light.horizon)]
    )
    if scene.place == "table":
        _window_light(canvas, light)
        return
    if scene.place == "underwater":
        _sunbeams(canvas, light)
        return
    if scene.place == "space":
        _nebula(canvas, scene, light)
    if scene.place == "space" or scene.hour == "night":
        _stars(canvas, 1.0 if scene.place == "space" else horizon)
    if scene.place != "space":
        _sun(canvas, scene, light)
        _clouds(canvas, scene, light, horizon)
    if scene.place == "space":
        _planet(canvas, scene, light)


def _sun(canvas: Canvas, scene: Scene, light: Light) -> None:
    if scene.hour == "storm":
        return
    side = min(canvas.width, canvas.height)
    away = canvas.distance(light.x * canvas.width, light.y * canvas.height)
    canvas.glow(np.exp(-away / (side * 0.28)) * np.float32(0.55), light.sun)
    disc = np.clip(light.radius * side - away + 0.5, 0, 1)
    canvas.blend(disc, light.sun)
    if scene.hour == "night":
        # The moon wanes: a disc of the sky covers part of it, and craters mark what is left.
        side_step = canvas.distance(
            (light.x + light.radius * 0.32) * canvas.width, (light.y - light.radius * 0.12) * canvas.height
        )
        shade = np.clip(light.radius * side * 0.94 - side_step + 0.5, 0, 1) * disc
        canvas.blend(shade * np.float32(0.93), mixed(light.zenith, light.middle, 0.8))


def _stars(canvas: Canvas, reach: float) -> None:
    count = canvas.width * canvas.height // (2600 if canvas.detail else 3600)
    x = canvas.random.integers(1, canvas.width - 1, count)
    y = (canvas.random.random(count) ** 1.3 * (canvas.height * reach - 3)).astype(int) + 1
    bright = canvas.random.random(count).astype(np.float32) ** 3
    for step_x, step_y, share in ((0, 0, 1.0), (1, 0, 0.35), (-1, 0, 0.35), (0, 1, 0.35), (0, -1, 0.35)):
        here = canvas.pixels[y + step_y, x + step_x]
        canvas.pixels[y + step_y, x + step_x] = here + (1 - here) * (bright * np.float32(share))[:, None]


def _clouds(canvas: Canvas, scene: Scene, light: Light, horizon: float) -> None:
    rows = int(canvas.height * horizon)
    noise = canvas.noise(rows, 3, 7, 3 + canvas.detail)
    heavy = scene.hour == "storm"
    low = 0.4 if heavy else float(canvas.random.uniform(0.5, 0.58))
    cover = smoothstep(low, low + 0.22, noise)
    # Lighter where the cloud above is thinner: the upper edges catch the light.
    step = max(2, rows // 60)
    shifted = np.concatenate([cover[:step], cover[:-step]])
    edge = np.clip(cover - shifted, 0, 1)
    white = mixed(light.sun, light.horizon, 0.35 if scene.hour != "day" else 0.05)
    base = mixed(light.middle, white, 0.55 if not heavy else 0.18)
    strength = {"night": 0.35, "storm": 0.9}.get(scene.hour, 0.75)
    fade = np.linspace(1.0, 0.55, rows, dtype=np.float32)[:, None]
    canvas.blend(cover * fade * np.float32(strength), base)
    canvas.blend(edge * fade * np.float32(strength * 0.8), white)


def _nebula(canvas: Canvas, scene: Scene, light: Light) -> None:
    tints = (*scene.colours[:1], rgb(0x2C6FB8), rgb(0x8A3FA8), rgb(0xD0587A))
    for number, tint in enumerate(tints[:3]):
        cloud = smoothstep(0.46, 0.85, canvas.noise(canvas.height, 2 + number, 2 + number, 4 + canvas.detail))
        canvas.glow(cloud * np.float32(0.6), tint)
    canvas.glow(smoothstep(0.55, 0.9, canvas.noise(canvas.height, 3, 3, 3)) * np.float32(0.2), light.sun)


def _planet(canvas: Canvas, scene: Scene, light: Light) -> None:
    side = min(canvas.width, canvas.height)
    radius = side * float(canvas.random.uniform(0.17, 0.24))
    x, y = canvas.width * (1 - light.x), canvas.height * 0.34
    away = canvas.distance(x, y)
    disc = np.clip(radius - away + 0.5, 0, 1)
    body = scene.colours[-1] if scene.colours else rgb(0xC98E5A)
    bands = canvas.noise(canvas.height, 2, 22, 3)
    canvas.blend(disc, scaled(body, 0.85))
    canvas.blend(disc * smoothstep(0.4, 0.62, bands) * np.float32(0.55), mixed(body, rgb(0xFFF1DA), 0.6))
    shade = smoothstep(radius * 0.35, radius * 1.5, canvas.distance(x - radius * 0.55, y - radius * 0.5))
    canvas.blend(disc * shade * np.float32(0.92), light.zenith)
    ring = np.abs(
        np.hypot(
            (canvas.columns - x) * 0.985 + (canvas.rows - y) * 0.17,
            (canvas.rows - y) * 4.2 - (canvas.columns - x) * 0.72,
        )
        - radius * 1.72
    )
    in_front = (canvas.rows - y) * 4.2 > (canvas.columns - x) * 0.72
    visible = np.where(in_front, 1.0, 1.0 - disc).astype(np.float32)
    canvas.blend(
        (np.clip(radius * 0.2 - ring, 0, 1.5) / 1.5 * visible * 0.7).astype(np.float32),
        mixed(body, rgb(0xFFF6E8), 0.65),
    )


def _sunbeams(canvas: Canvas, light: Light) -> None:
    angle = (canvas.columns - light.x * canvas.width) / (canvas.rows + canvas.height * 0.35)
    beams = np.zeros_like(angle)
    for pace in (9.0, 17.0, 31.0):
        beams += np.sin(angle * np.float32(pace) + np.float32(canvas.random.uniform(0, 6)))
    depth = np.clip(1 - canvas.rows / (canvas.height * 0.85), 0, 1)
    canvas.glow((np.clip(beams, 0, 3) / 3 * depth * 0.55).astype(np.float32), light.sun)


def _window_light(canvas: Canvas, light: Light) -> None:
    """A slanting pane of light on the wall, with the cross of the window in it."""
    slant = canvas.columns - canvas.width * light.x + (canvas.rows - canvas.height * 0.3) * 0.45
    across = np.abs(slant) / (canvas.width * 0.2)
    down = np.abs(canvas.rows - canvas.height * 0.3) / (canvas.height * 0.23)
    pane = smoothstep(1.02, 0.97, across) * smoothstep(1.02, 0.97, down)
    bars = 1 - smoothstep(0.035, 0.02, across) * 1.0 - smoothstep(0.04, 0.02, np.broadcast_to(down, across.shape))
    canvas.glow((pane * np.clip(bars, 0, 1) * 0.5).astype(np.float32), light.sun)
