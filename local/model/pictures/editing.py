"""Edits: a new part inside the mask and nothing else touched, or the whole source in another manner.

With a mask, pixels outside its holes are those of the first source scaled to the size asked for, bit for bit (the real
model treats a mask as guidance; here the stricter reading makes a test possible).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from local.model.pictures.backdrop import light_of
from local.model.pictures.canvas import Floats, to_bytes
from local.model.pictures.compose import painted, place_alone, place_things, set_words
from local.model.pictures.scene import Scene
from local.model.sources import Source


def scaled_source(source: Source, width: int, height: int, *, keep_alpha: bool) -> Image.Image:
    """The source at the size asked for: RGBA when `keep_alpha`, else RGB on white."""
    source.file.seek(0)
    with Image.open(source.file) as opened:
        image = opened.convert(
            "RGBA" if keep_alpha or "A" in opened.getbands() or "transparency" in opened.info else "RGB"
        )
    source.file.seek(0)
    if image.mode == "RGBA" and not keep_alpha:
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image).convert("RGB")
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def hole_of(mask: Source, width: int, height: int) -> Image.Image:
    """255 where the mask is fully transparent, at the size asked for; 0 elsewhere."""
    mask.file.seek(0)
    with Image.open(mask.file) as opened:
        alpha = opened.convert("RGBA").getchannel("A")
    mask.file.seek(0)
    hole = alpha.point([255] + [0] * 255)
    return hole if hole.size == (width, height) else hole.resize((width, height), Image.Resampling.NEAREST)


def inpainted(base: Image.Image, hole: Image.Image, scene: Scene, quality: str) -> Image.Image:
    """`base` with the scene painted into the hole, blended in over a few pixels inside its edge."""
    box = hole.getbbox()
    if box is None:
        return base
    width, height = box[2] - box[0], box[3] - box[1]
    if scene.things and not scene.named_place:
        patch = _healed(base.convert("RGB"), hole, scene).crop(box)
        place_alone(patch, scene, (0, 0, width, height))
        if scene.title:
            set_words(patch, scene)
    else:
        patch = _toned(painted(scene, width, height, quality), base, box)
    inside = hole.crop(box)
    soft = _feathered(inside, max(2, min(width, height) // 50))
    result = base.copy()
    if result.mode == "RGBA":
        result.paste(patch.convert("RGBA"), box, soft)
    else:
        result.paste(patch, box, soft)
    return result


def _healed(base: Image.Image, hole: Image.Image, scene: Scene) -> Image.Image:
    """`base` with the hole filled by what surrounds it: means of known colours, near ones over far ones, and grain."""
    scale = max(1, max(base.size) // 128)
    small = (max(1, base.width // scale), max(1, base.height // scale))
    known = 1 - np.asarray(hole.resize(small, Image.Resampling.BOX), np.float32)[:, :, None] / 255
    colours = np.asarray(base.resize(small, Image.Resampling.BOX), np.float32) * known
    plain = np.full_like(colours, 128)
    for radius in (64, 32, 16, 8, 4, 2):
        reached = _blurred(known, radius)
        near = reached > 0.01
        plain = np.where(near, _blurred(colours, radius) / np.where(near, reached, 1), plain)
    smooth = Image.fromarray(np.clip(plain, 0, 255).astype(np.uint8), "RGB")
    smooth = smooth.filter(ImageFilter.GaussianBlur(2)).resize(base.size, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(scene.seed).standard_normal((base.height, base.width), np.float32) * 2.5
    pixels = np.asarray(smooth, np.float32) + noise[:, :, None]
    return Image.composite(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB"), base, hole)


def _blurred(values: Floats, radius: int) -> Floats:
    """The mean over a square of `radius` around each place, for each channel."""
    reach = 2 * radius + 1
    padded = np.pad(values, ((radius, radius), (radius, radius), (0, 0)), "edge")
    summed = np.pad(padded.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    window = summed[reach:, reach:] - summed[:-reach, reach:] - summed[reach:, :-reach] + summed[:-reach, :-reach]
    mean: Floats = window / (reach * reach)
    return mean


def _toned(patch: Image.Image, base: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """The patch moved a little towards the colour of what surrounds it."""
    around = base.convert("RGB").crop(_grown(box, base.size)).resize((1, 1), Image.Resampling.BOX)
    tone = np.asarray(around, np.float32)[0, 0]
    pixels = np.asarray(patch, np.float32)
    pixels = pixels + (tone - pixels.mean((0, 1))) * 0.16
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def _feathered(inside: Image.Image, reach: int) -> Image.Image:
    """The hole with an edge that fades inwards; never above 0 outside it."""
    framed = Image.new("L", (inside.width + 2 * reach, inside.height + 2 * reach), 0)
    framed.paste(inside, (reach, reach))
    soft = framed.filter(ImageFilter.MinFilter(2 * (reach // 2) + 1)).filter(ImageFilter.GaussianBlur(reach / 2))
    soft = soft.crop((reach, reach, reach + inside.width, reach + inside.height))
    return Image.composite(soft, Image.new("L", inside.size, 0), inside)


def _grown(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    margin = max(8, (box[2] - box[0]) // 8)
    return (
        max(0, box[0] - margin),
        max(0, box[1] - margin),
        min(size[0], box[2] + margin),
        min(size[1], box[3] + margin),
    )


def restyled(base: Image.Image, others: list[Image.Image], scene: Scene) -> Image.Image:
    """The whole source as a painting in the scene's colours, the other sources as prints laid over it, the words."""
    random = np.random.default_rng(scene.seed)
    light = light_of(scene, random)
    alpha = base.getchannel("A") if base.mode == "RGBA" else None
    image = _painterly(base.convert("RGB"), [light.zenith, light.middle, light.horizon, light.sun])
    _lay_prints(image, others, random)
    place_things(image, scene, light, random)
    set_words(image, scene)
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _painterly(image: Image.Image, tones: list[tuple[float, float, float]]) -> Image.Image:
    """Flat brush marks, darkened outlines, and shadows to lights mapped half-way onto the scene's colours."""
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR)
    flat = small.filter(ImageFilter.ModeFilter(5)).filter(ImageFilter.SMOOTH_MORE)
    flat = flat.resize(image.size, Image.Resampling.BICUBIC)
    grey = flat.convert("L")
    places = np.linspace(0, 255, len(tones))
    levels = np.arange(256)
    table = [np.interp(levels, places, [tone[channel] * 255 for tone in tones]) for channel in range(3)]
    mapped = Image.merge("RGB", [grey.point([round(value) for value in channel]) for channel in table])
    toned = Image.blend(flat, mapped, 0.45)
    outlines = small.convert("L").filter(ImageFilter.FIND_EDGES).filter(ImageFilter.SMOOTH)
    # The filter leaves a frame of its own along the border.
    outlines = ImageOps.expand(ImageOps.crop(outlines, 3), 3, 0) if min(outlines.size) > 8 else outlines
    outlines = outlines.resize(image.size, Image.Resampling.BICUBIC).point(
        [min(200, max(0, level - 24) * 3) for level in range(256)]
    )
    toned.paste(to_bytes((tones[0][0] * 0.4, tones[0][1] * 0.4, tones[0][2] * 0.4)), (0, 0), outlines)
    return toned


def _lay_prints(image: Image.Image, others: list[Image.Image], random: np.random.Generator) -> None:
    """Each further source as a white-bordered print, in up to two rows along the foot."""
    if not others:
        return
    columns = min(len(others), 8 if len(others) > 6 else 5)
    rows = -(-len(others) // columns)
    width = min(int(image.width * 0.26), int(image.width * 0.94 / columns))
    for number, other in enumerate(others):
        row, column = divmod(number, columns)
        in_row = min(columns, len(others) - row * columns)
        x = image.width * (column + 1) / (in_row + 1) if in_row < columns else image.width * (column + 0.5) / columns
        y = image.height * 0.86 - (rows - 1 - row) * width * 1.02 - width / 2
        _lay_print(image, other, (x, y), width, float(random.uniform(-9, 9)))


def _lay_print(image: Image.Image, other: Image.Image, centre: tuple[float, float], width: int, angle: float) -> None:
    picture = other.convert("RGB")
    picture.thumbnail((int(width * 0.82), int(width * 0.82)))
    border = max(2, width // 22)
    sheet = Image.new("RGBA", (picture.width + 2 * border, picture.height + 3 * border), (250, 247, 240, 255))
    sheet.paste(picture, (border, border))
    turned = sheet.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = int(centre[0] - turned.width / 2), int(centre[1] - turned.height / 2)
    shadow = turned.getchannel("A").filter(ImageFilter.GaussianBlur(border)).point([level // 2 for level in range(256)])
    image.paste((15, 15, 20), (left + border, top + border), shadow)
    image.paste(turned, (left, top), turned)
