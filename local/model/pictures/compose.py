"""Puts a picture together from its scene: backdrop, terrain, things, weather, grain, words.

`painted` makes a picture for a prompt, `sticker` one with a transparent ground. Quality sets the detail: low is
painted at half size without grain, medium has fine grain, high has more of everything.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from local.model.pictures.backdrop import HORIZONS, Light, light_of, paint_backdrop
from local.model.pictures.canvas import Canvas, Colour, luminance, mixed, rgb, scaled, to_bytes
from local.model.pictures.lettering import Setting, fitted, set_text
from local.model.pictures.scene import Scene
from local.model.pictures.shapes import paint_figure, palette_for
from local.model.pictures.terrain import paint_terrain
from local.model.pictures.things import THINGS, Thing

_DETAIL = {"low": 0, "medium": 1}
_PAPER = rgb(0xFFF8EA)
_INK = rgb(0x14161F)


def painted(scene: Scene, width: int, height: int, quality: str, *, words: bool = True) -> Image.Image:
    """The scene as an RGB image."""
    detail = _DETAIL.get(quality, 2)
    scale = (0.5, 0.75, 1.0)[detail] if width * height > 300_000 else 1.0
    random = np.random.default_rng(scene.seed)
    canvas = Canvas(max(8, round(width * scale)), max(8, round(height * scale)), detail, random)
    light = light_of(scene, random)
    paint_backdrop(canvas, scene, light)
    paint_terrain(canvas, scene, light)
    if detail == 2:
        _vignette(canvas)
    image = canvas.image()
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    place_things(image, scene, light, random)
    _weather(image, scene, random)
    if detail:
        image = _grain(image, random, 1.6 if detail == 1 else 2.6)
    if words:
        set_words(image, scene)
    return image


def sticker(scene: Scene, width: int, height: int, quality: str) -> Image.Image:
    """What the prompt names, cut out: an RGBA image, transparent around it; a round picture when it names nothing."""
    random = np.random.default_rng(scene.seed)
    light = light_of(scene, random)
    side = int(min(width, height) * (0.68 if scene.title else 0.8))
    left, top = (width - side) // 2, (height - side) // 2 - (height // 12 if scene.title else 0)
    if scene.things:
        figure = _figure(THINGS[scene.things[0]], scene, light, side, random)
    else:
        figure = painted(scene, side, side, quality, words=False).convert("RGBA")
        round_mask = Image.new("L", (side * 2, side * 2), 0)
        ImageDraw.Draw(round_mask).ellipse((4, 4, side * 2 - 4, side * 2 - 4), fill=255)
        figure.putalpha(round_mask.resize((side, side), Image.Resampling.LANCZOS))
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    image.paste(_outlined(figure, image.size, (left, top)), (0, 0))
    image.alpha_composite(figure, (left, top))
    if scene.title:
        setting = fitted(scene.title, int(width * 0.86), height // 5, height // 9)
        if setting:
            set_text(image, setting, (width / 2, height * 0.9), to_bytes(_PAPER), to_bytes(_INK))
    return image


def _outlined(figure: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    """The pale border of a sticker, with a soft edge of alpha."""
    alpha = Image.new("L", size, 0)
    alpha.paste(figure.getchannel("A"), place)
    width = max(3, figure.width // 60)
    wide = alpha.filter(ImageFilter.GaussianBlur(width)).point([min(255, level * 5) for level in range(256)])
    border = Image.new("RGBA", size, (*to_bytes(_PAPER), 255))
    border.putalpha(wide)
    return border


def place_things(image: Image.Image, scene: Scene, light: Light, random: np.random.Generator) -> None:
    """Paint what the prompt names onto an RGB image, larger things first."""
    names = sorted(scene.things, key=lambda name: -THINGS[name].size)
    for order, name in enumerate(names):
        thing = THINGS[name]
        for member in range(thing.flock):
            _place(image, scene, light, random, thing, order, member)


def _place(
    image: Image.Image,
    scene: Scene,
    light: Light,
    random: np.random.Generator,
    thing: Thing,
    order: int,
    member: int,
) -> None:
    alone = order == 0 and member == 0
    share = thing.size
    if thing.flock > 1 and not alone:
        # Those behind are smaller, and a flock beside something else is smaller still.
        share *= float(random.uniform(0.5, 0.8)) * (1.0 if order == 0 or thing.stand == "air" else 0.6)
    elif not alone:
        share *= 0.78
    if scene.title and thing.stand != "air":
        share *= 0.86
    size = max(12, int(min(image.size) * share))
    horizon = HORIZONS.get(scene.place, 0.6)
    stand = "floating" if scene.place in ("space", "underwater") else thing.stand
    bottoms = {"ground": 0.9, "water": horizon + 0.1, "shore": horizon + 0.04}
    if stand in ("air", "floating"):
        low, high = (0.16, 0.42) if stand == "air" else (0.36, 0.66)
        middle = 0.5 if alone and stand == "floating" else float(random.uniform(low, high))
        bottom = middle + size / image.height / 2
    else:
        bottom = bottoms[stand] - 0.05 * (order + member)
    beside = light.x + 0.12 if stand == "water" else 1 - light.x
    across = 0.5 if alone and stand == "ground" else beside + float(random.uniform(-0.06, 0.06))
    if not alone and stand != "water":
        across = (0.2, 0.8, 0.34, 0.66, 0.12)[(order + member) % 5] + float(random.uniform(-0.05, 0.05))
    figure = _figure(thing, scene, light, size, random)
    left = int(min(max(across * image.width - size / 2, 0), image.width - size))
    top = int(bottom * image.height - size)
    if stand == "ground":
        _ground_shadow(image, left, top, size, light)
    image.paste(figure, (left, top), figure)
    if stand == "water":
        _mirrored(image, figure, left, top + int(size * 0.95))


def _figure(thing: Thing, scene: Scene, light: Light, size: int, random: np.random.Generator) -> Image.Image:
    colour = scene.colours[0] if scene.colours else thing.colour
    night = scene.hour == "night" and scene.place not in ("table", "underwater", "space")
    body = scaled(light.lit(colour), 0.8) if night else light.lit(colour, 0.5)
    palette = palette_for(body, shadow=light.zenith, highlight=mixed(_PAPER, light.sun, 0.4))
    if night:
        dimmed = {name: mixed(scaled(value, 0.72), light.zenith, 0.2) for name, value in palette.items()}
        palette = {**dimmed, "gold": palette["gold"]}
    figure = paint_figure(thing.strokes, size, palette)
    if random.random() < 0.5:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return figure


def place_alone(image: Image.Image, scene: Scene, box: tuple[int, int, int, int]) -> None:
    """The first thing the prompt names, as large as the box allows, standing on its lower edge."""
    random = np.random.default_rng(scene.seed)
    light = light_of(scene, random)
    thing = THINGS[scene.things[0]]
    width, height = box[2] - box[0], box[3] - box[1]
    size = max(4, int(min(width, height) * (0.7 if scene.title else 0.92)))
    left, top = box[0] + (width - size) // 2, box[3] - size - height // 40
    if thing.stand in ("air", "floating"):
        top = box[1] + (height - size) // 2
    elif thing.stand == "ground":
        _ground_shadow(image, left, top, size, light)
    figure = _figure(thing, scene, light, size, random)
    image.paste(figure, (left, top), figure)


def _ground_shadow(image: Image.Image, left: int, top: int, size: int, light: Light) -> None:
    shadow = Image.new("L", (size + size // 2, max(4, size // 5)), 0)
    inset = shadow.height // 4
    ImageDraw.Draw(shadow).ellipse((size // 3, inset, size + size // 8, shadow.height - inset), fill=120)
    soft = shadow.filter(ImageFilter.GaussianBlur(size / 40))
    image.paste(to_bytes(scaled(light.zenith, 0.3)), (left - size // 4, top + size - shadow.height // 2), soft)


def _mirrored(image: Image.Image, figure: Image.Image, left: int, top: int) -> None:
    """A broken reflection on the water."""
    flipped = figure.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((figure.width, figure.height // 2))
    alpha = np.asarray(flipped.getchannel("A"), np.float32)
    rows = np.arange(alpha.shape[0], dtype=np.float32)[:, None]
    ripple = 0.5 + 0.5 * np.sin(rows * rows / 60 + rows / 3)
    faded = alpha * 0.42 * ripple * np.clip(1 - rows / alpha.shape[0], 0, 1)
    image.paste(flipped, (left, top), Image.fromarray(faded.astype(np.uint8), "L"))


def _weather(image: Image.Image, scene: Scene, random: np.random.Generator) -> None:
    area = image.width * image.height
    if "rain" in scene.weather:
        layer = Image.new("L", image.size, 0)
        draw = ImageDraw.Draw(layer)
        for x, y in random.random((area // 1800, 2)) * (image.width * 1.2, image.height):
            draw.line((x, y, x - image.width * 0.008, y + image.height * 0.035), fill=int(random.integers(50, 130)))
        image.paste((225, 232, 238), (0, 0), layer)
    if "snow" in scene.weather:
        layer = Image.new("L", image.size, 0)
        draw = ImageDraw.Draw(layer)
        for x, y in random.random((area // 3200, 2)) * image.size:
            radius = float(random.uniform(0.6, 3.2)) * min(image.size) / 1024
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(random.integers(120, 235)))
        image.paste((255, 255, 255), (0, 0), layer)


def _vignette(canvas: Canvas) -> None:
    away = canvas.distance(canvas.width / 2, canvas.height / 2) / np.hypot(canvas.width / 2, canvas.height / 2)
    canvas.pixels *= (1 - 0.22 * away**2.6)[:, :, None]


def _grain(image: Image.Image, random: np.random.Generator, strength: float) -> Image.Image:
    """Film grain: the same for the three colours of a pixel, and what gives a PNG the size of a photograph's."""
    noise = random.standard_normal((image.height, image.width), np.float32) * np.float32(strength)
    pixels = np.asarray(image, np.float32) + noise[:, :, None] + 0.5
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def set_words(image: Image.Image, scene: Scene) -> None:
    """The quoted words large in the upper part; without any, a caption at the foot."""
    if scene.title:
        setting = fitted(
            scene.title, int(image.width * 0.84), int(image.height * 0.36), int(min(image.size) * 0.17), 14
        )
        if setting:
            centre = (image.width / 2, max(image.height * 0.2, setting.height / 2 + image.height * 0.04))
            _set_readably(image, setting, centre)
        return
    setting = fitted(scene.caption, int(image.width * 0.86), int(image.height * 0.085), int(min(image.size) * 0.031), 9)
    if setting:
        _caption_band(image, setting.height)
        centre = (image.width / 2, image.height - setting.height * 0.5 - min(image.size) * 0.022)
        set_text(image, setting, centre, to_bytes(_PAPER), None)


def _set_readably(image: Image.Image, setting: Setting, centre: tuple[float, float]) -> None:
    """Pale on dark and dark on pale, with the other as a soft shadow."""
    half = setting.height / 2
    box = (int(image.width * 0.08), max(0, int(centre[1] - half)), int(image.width * 0.92), int(centre[1] + half))
    mean = np.asarray(image.crop(box).resize((8, 8)), np.float32).reshape(-1, 3).mean(0) / 255
    behind: Colour = (float(mean[0]), float(mean[1]), float(mean[2]))
    light_words = luminance(behind) < 0.62
    ink, shadow = (_PAPER, scaled(behind, 0.25)) if light_words else (mixed(_INK, behind, 0.12), _PAPER)
    set_text(image, setting, centre, to_bytes(ink), to_bytes(shadow))


def _caption_band(image: Image.Image, height: float) -> None:
    """Darkens the foot of the picture, more towards the edge, so that the caption can be read on anything."""
    rows = min(image.height, int(height + min(image.size) * 0.09))
    ramp = np.linspace(0, 0.72, rows, dtype=np.float32) ** 0.8 * 235
    mask = Image.fromarray(np.broadcast_to(ramp[:, None], (rows, image.width)).astype(np.uint8), "L")
    image.paste(to_bytes(_INK), (0, image.height - rows), mask)
