"""Sets words on a picture: several scripts in one line, right to left where they run so, wrapped and as large as fits.

Pillow with libraqm shapes each run (joined Arabic letters, marks); this module splits a line into runs of one font and
puts them in visual order. Characters that no font here has are left out rather than drawn as boxes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from local.model.pictures.fonts import RIGHT_TO_LEFT, font, has_glyph, script_of

_MEASURE_SIZE = 100
_LINE_HEIGHT = 1.28
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Run:
    """Neighbouring characters of one font."""

    text: str
    script: str

    @property
    def right_to_left(self) -> bool:
        return self.script in RIGHT_TO_LEFT

    def shaping(self) -> dict[str, Any]:
        """What libraqm is told; a font laid out without libraqm takes none of it."""
        if font(self.script, _MEASURE_SIZE).layout_engine != ImageFont.Layout.RAQM:
            return {}
        direction = {"direction": "rtl" if self.right_to_left else "ltr"}
        # Unified ideographs have Japanese forms in this font unless it is told that no Japanese is meant.
        chinese = self.script == "cjk" and not any("\u3040" <= letter <= "\u30ff" for letter in self.text)
        return {**direction, "language": "zh-Hans"} if chinese else direction

    def width(self, size: int) -> float:
        return font(self.script, size).getlength(self.text, **self.shaping())


def runs_of(line: str) -> list[Run]:
    """The line's runs in the order they are drawn from the left. Marks and spaces join the run before them."""
    logical: list[Run] = []
    for letter in line:
        script = script_of(letter)
        if not letter.isalnum() and logical:
            script = logical[-1].script if has_glyph(logical[-1].script, letter) else script
        if not has_glyph(script, letter):
            script = "default"
            if not has_glyph(script, letter):
                continue
        if logical and logical[-1].script == script:
            logical[-1] = Run(logical[-1].text + letter, script)
        else:
            logical.append(Run(letter, script))
    return _in_visual_order(logical)


def _in_visual_order(logical: list[Run]) -> list[Run]:
    """A line that begins with a right-to-left script runs so as a whole; left-to-right groups keep their order."""
    if not logical or not logical[0].right_to_left:
        return _with_spaces_outside(logical)
    visual: list[Run] = []
    for run in logical:
        together = 0
        while not run.right_to_left and together < len(visual) and not visual[together].right_to_left:
            together += 1
        visual.insert(together, run)
    return visual


def _with_spaces_outside(logical: list[Run]) -> list[Run]:
    """In a left-to-right line the space after a right-to-left run stands at its right, so the next run takes it."""
    runs: list[Run] = []
    for run in logical:
        if runs and runs[-1].right_to_left and not run.right_to_left:
            stripped = runs[-1].text.rstrip()
            spaces = runs[-1].text[len(stripped) :]
            runs[-1] = Run(stripped, runs[-1].script)
            run = Run(spaces + run.text, run.script)
        runs.append(run)
    return runs


@dataclass(frozen=True)
class Setting:
    """Text broken into lines at a size in pixels. Width and height in pixels."""

    lines: list[list[Run]]
    size: int

    @property
    def height(self) -> float:
        return len(self.lines) * self.size * _LINE_HEIGHT

    @property
    def width(self) -> float:
        return max((sum(run.width(self.size) for run in line) for line in self.lines), default=0.0)


def fitted(text: str, width: int, height: int, largest: int, smallest: int = 12) -> Setting | None:
    """The largest setting of `text` in a box, or None when nothing of it can be drawn. Too long a text is cut with …"""
    words = _words(text)
    if not words:
        return None
    measured = [(word, sum(run.width(_MEASURE_SIZE) for run in runs_of(word))) for word in words]
    size = max(largest, smallest)
    while size > smallest:
        lines = _wrapped(measured, width * _MEASURE_SIZE / size)
        widest = max(total for _, total in lines) * size / _MEASURE_SIZE
        if widest <= width and len(lines) * size * _LINE_HEIGHT <= height:
            break
        size = max(smallest, int(size * 0.92))
    texts = [line for line, _ in _wrapped(measured, width * _MEASURE_SIZE / size)]
    most = max(1, int(height / (size * _LINE_HEIGHT)))
    if len(texts) > most:
        texts = [*texts[: most - 1], texts[most - 1] + " …"]
    lines_of_runs = [runs for runs in map(runs_of, texts) if runs]
    return Setting(lines_of_runs, size) if lines_of_runs else None


def _words(text: str) -> list[str]:
    """What a line may be broken after: words with the space behind them, and single ideographs."""
    words: list[str] = []
    for word in " ".join(text.split()).split(" "):
        pieces = list(_ideographs_apart(word))
        words += [*pieces[:-1], pieces[-1] + " "] if pieces else []
    return [word for word in words if runs_of(word.strip())]


def _ideographs_apart(word: str) -> Iterable[str]:
    piece = ""
    for letter in word:
        if script_of(letter) == "cjk" and letter.isalnum() and not "\uac00" <= letter <= "\ud7af":
            if piece:
                yield piece
            piece = ""
            yield letter
        else:
            piece += letter
    if piece:
        yield piece


def _wrapped(measured: list[tuple[str, float]], width: float) -> list[tuple[str, float]]:
    lines: list[tuple[str, float]] = []
    for word, length in measured:
        if lines and lines[-1][1] + length <= width * 1.02:
            lines[-1] = (lines[-1][0] + word, lines[-1][1] + length)
        else:
            lines.append((word, length))
    return [(line.strip(), total) for line, total in lines]


def set_text(
    image: Image.Image, setting: Setting, centre: tuple[float, float], colour: Colour, shadow: Colour | None
) -> None:
    """Draw a setting around `centre` on an RGB or RGBA image, with a soft shadow behind it when a colour is given."""
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    top = centre[1] - setting.height / 2
    for number, line in enumerate(setting.lines):
        left = centre[0] - sum(run.width(setting.size) for run in line) / 2
        baseline = top + setting.size * (_LINE_HEIGHT * number + 1.02)
        for run in line:
            face = font(run.script, setting.size)
            draw.text((left, baseline), run.text, fill=255, font=face, anchor="ls", **run.shaping())
            left += run.width(setting.size)
    if shadow is not None:
        _paste_shadow(image, mask, setting, shadow)
    image.paste((*colour, 255) if image.mode == "RGBA" else colour, (0, 0), mask)


def _paste_shadow(image: Image.Image, mask: Image.Image, setting: Setting, colour: Colour) -> None:
    """The blur is made at a quarter of the size: soft either way, and sixteen times cheaper."""
    box = mask.getbbox()
    if box is None:
        return
    reach = setting.size // 3 + 4
    box = (
        max(0, box[0] - reach),
        max(0, box[1] - reach),
        min(image.width, box[2] + reach),
        min(image.height, box[3] + reach),
    )
    part = mask.crop(box)
    small = part.reduce(4).filter(ImageFilter.GaussianBlur(max(1.0, setting.size / 36)))
    soft = small.resize(part.size, Image.Resampling.BILINEAR).point(
        [min(255, int(level * 1.1)) for level in range(256)]
    )
    image.paste((*colour, 255) if image.mode == "RGBA" else colour, box, soft)
