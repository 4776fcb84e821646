"""Pictures for calls: `draw` paints what a prompt asks for, or edits what was sent.

Everything here is local drawing with numpy and Pillow: the same request always gives the same pixels. A prompt's words
choose hour, place, things and colours (`scene.py`); words in quotation marks are set large.
"""

from __future__ import annotations

from PIL import Image

from local.model.parameters import ImageCall
from local.model.pictures.compose import painted, sticker
from local.model.pictures.editing import hole_of, inpainted, restyled, scaled_source
from local.model.pictures.scene import read_scene


def draw(call: ImageCall, index: int) -> Image.Image:
    """Picture number `index` of a call, RGB or (for a transparent background) RGBA, of the size asked for."""
    scene = read_scene(call.prompt, index)
    transparent = call.background == "transparent"
    if call.operation == "generations":
        maker = sticker if transparent else painted
        return maker(scene, call.width, call.height, call.quality)
    base = scaled_source(call.sources[0], call.width, call.height, keep_alpha=transparent)
    if call.mask is not None:
        return inpainted(base, hole_of(call.mask, call.width, call.height), scene, call.quality)
    others = [
        scaled_source(source, min(source.width, 400), min(source.height, 400), keep_alpha=False)
        for source in call.sources[1:]
    ]
    return restyled(base, others, scene)
