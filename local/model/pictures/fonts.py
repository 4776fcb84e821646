"""Finds a font for each script and opens it at a size.

The fonts are ordinary Python packages (see requirements-dev.in) or whatever the system has; a script without a font of
its own falls back to the first font that exists, in the end to the one inside Pillow, and is logged once.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import ImageFont

logger = logging.getLogger(__name__)

_SYSTEM_FOLDERS = (Path("/usr/share/fonts"), Path("/Library/Fonts"), Path("C:/Windows/Fonts"))
_BOLD = 700
_NO_CHARACTER = "\uffff"


@dataclass(frozen=True)
class _Place:
    """A font file inside a package, or by name in a system folder."""

    package: str
    file: str


_NOTO_SANS = _Place("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf")
_DEJAVU = _Place("", "DejaVuSans-Bold.ttf")
_CJK = (_Place("noto_cjk_sans_jp_bold", "NotoSansCJKjp-Bold.otf"), _Place("", "NotoSansCJK-Bold.ttc"))

_PLACES: dict[str, tuple[_Place, ...]] = {
    "default": (_NOTO_SANS, _DEJAVU),
    "cjk": _CJK,
    "arabic": (_Place("fontpkg_noto_sans_arabic", "files/NotoSansArabic[wdth,wght].ttf"), _DEJAVU),
    "hebrew": (_Place("fontpkg_heebo", "files/Heebo[wght].ttf"), _DEJAVU),
}
_SCRIPT_OF_NAME = {
    "CJK": "cjk",
    "HIRAGANA": "cjk",
    "KATAKANA": "cjk",
    "KATAKANA-HIRAGANA": "cjk",
    "HANGUL": "cjk",
    "IDEOGRAPHIC": "cjk",
    "FULLWIDTH": "cjk",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
}
RIGHT_TO_LEFT = frozenset({"arabic", "hebrew"})
_open_fonts = threading.local()


@cache
def script_of(character: str) -> str:
    """The font a character wants: `cjk`, `arabic`, `hebrew`, or `default` (Latin, Cyrillic, Greek, Devanagari)."""
    return _SCRIPT_OF_NAME.get(unicodedata.name(character, "").partition(" ")[0], "default")


def font(script: str, size: int) -> ImageFont.FreeTypeFont:
    """The script's font in bold at `size` pixels. One object for each thread: FreeType faces are not shared safely."""
    kept: dict[tuple[str, int], ImageFont.FreeTypeFont] = _open_fonts.__dict__.setdefault("kept", {})
    if (script, size) not in kept:
        if len(kept) > 64:
            kept.clear()
        kept[script, size] = _opened(script, size)
    return kept[script, size]


def has_glyph(script: str, character: str) -> bool:
    """Whether the script's font draws this character as more than the box for the unknown."""
    return _has_glyph(script, character)


@cache
def _has_glyph(script: str, character: str) -> bool:
    if character.isspace():
        return True
    face = font(script, 32)
    return bytes(face.getmask(character)) != bytes(face.getmask(_NO_CHARACTER))


@cache
def font_file(script: str) -> Path | None:
    """Where the script's font is; for one that has none, where the default is; None when there is none at all."""
    for place in _PLACES[script]:
        found = _found(place)
        if found is not None:
            return found
    if script != "default":
        logger.warning("no font for script %s: its letters fall back to the default font", script)
        return font_file("default")
    logger.warning("no font found: text is set in the one inside Pillow, which has Latin letters only")
    return None


def _found(place: _Place) -> Path | None:
    if place.package:
        spec = importlib.util.find_spec(place.package)
        folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
        return next((folder / place.file for folder in folders if (folder / place.file).is_file()), None)
    return next((file for folder in _SYSTEM_FOLDERS for file in sorted(folder.rglob(place.file))), None)


def _opened(script: str, size: int) -> ImageFont.FreeTypeFont:
    file = font_file(script)
    if file is None:
        built_in = ImageFont.load_default(size)
        assert isinstance(built_in, ImageFont.FreeTypeFont)
        return built_in
    opened = ImageFont.truetype(file, size)
    if "wght" in file.name:
        axes = opened.get_variation_axes()
        opened.set_variation_by_axes(
            [_BOLD if _axis_name(axis["name"]) == "Weight" else axis["default"] or 0 for axis in axes]
        )
    return opened


def _axis_name(name: str | bytes | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""
