"""A picture on its way: what a stream shows before the finished one."""

from __future__ import annotations

from PIL import Image, ImageFilter


def unfinished(image: Image.Image, step: int, steps: int) -> Image.Image:
    """The picture at `step` of `steps` (from 0): coarse and soft at first, nearly sharp at the last."""
    scale = max(2, round(48 / 3 ** (step + 3 - steps)))
    small = image.reduce(scale)
    return small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(scale / 2))
