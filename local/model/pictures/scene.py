"""Reads a prompt: the hour, the place, the things named, the colours, and the words to set.

`read_scene` is the door. Only words are looked at; the rest of the composition comes from a seed made of the prompt and
the picture's index, so that the same request always gives the same picture.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache

from local.model.pictures.canvas import Colour, rgb
from local.model.pictures.vocabulary import COLOURS, HOURS, PLACES, RUSSIAN_ENDINGS, THINGS, WEATHER

_QUOTED = re.compile(
    r"\"([^\"]+)\"|“([^”“]+)”|«([^»]+)»|„([^“”]+)[“”]|「([^」]+)」|『([^』]+)』|(?<!\w)'([^']+)'(?!\w)|\u2018([^\u2019]+)\u2019"
)
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Scene:
    """What is to be painted."""

    hour: str
    place: str
    named_place: bool
    """Whether the prompt names a place beyond what its things suggest."""
    things: tuple[str, ...]
    colours: tuple[Colour, ...]
    weather: frozenset[str]
    title: str
    caption: str
    seed: int


def read_scene(prompt: str, index: int) -> Scene:
    """The scene of picture number `index` of a prompt."""
    title = " ".join(next(group for group in found if group) for found in _QUOTED.findall(prompt))
    unquoted = _QUOTED.sub(" ", prompt)
    words = _words(unquoted)
    seed = int.from_bytes(hashlib.sha256(f"{index}\0{prompt}".encode(errors="replace")).digest()[:8], "big")
    hours = _named(words, HOURS)
    places = _named(words, PLACES)
    things = _named(words, THINGS)
    weather = {name for name, stems in WEATHER.items() if words & _vocabulary(stems)}
    return Scene(
        hour=hours[0] if hours else ("day", "sunset", "dawn", "sunset", "day")[seed % 5],
        place=_best_place(words, places),
        named_place=bool(places) and bool(_named(words - _thing_words(), PLACES)),
        things=tuple(things[:3]),
        colours=tuple(rgb(code) for code, stems in COLOURS.items() if words & _vocabulary(stems)),
        weather=frozenset(weather),
        title=title.strip(),
        caption=_caption(unquoted),
        seed=seed,
    )


_CYRILLIC = re.compile("[\u0400-\u04ff]")
_RUSSIAN_ENDING = re.compile(f"(?:{'|'.join(RUSSIAN_ENDINGS.split())})$")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")


def _words(text: str) -> set[str]:
    """Lower-case words with English plurals also in the singular; runs of ideographs by every piece up to four long."""
    words: set[str] = set()
    for word in _WORD.findall(text.lower()):
        words |= {word, _stem(word)}
        if _IDEOGRAPH.search(word):
            words |= {word[start : start + size] for size in range(1, 5) for start in range(len(word) - size + 1)}
    return words


def _stem(word: str) -> str:
    """English plurals in the singular; Russian words without their case ending."""
    if len(word) > 3 and word.endswith("s"):
        return word[:-1]
    return _RUSSIAN_ENDING.sub("", word) if len(word) > 3 and _CYRILLIC.match(word) else word


@cache
def _vocabulary(words: str) -> frozenset[str]:
    return frozenset(words.split()) | {_stem(word) for word in words.split() if _CYRILLIC.match(word)}


def _named(words: set[str], table: dict[str, str]) -> list[str]:
    """The rows of a table that some word names, most often named first."""
    counts = {name: len(words & _vocabulary(known)) for name, known in table.items()}
    return sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])


@cache
def _thing_words() -> frozenset[str]:
    return frozenset().union(*(_vocabulary(known) for known in THINGS.values()))


def _best_place(words: set[str], places: list[str]) -> str:
    """Landscape words beat the place a thing suggests: a cat in a city is in the city."""
    strong = [place for place in places if place != "hills"]
    if places and "hills" in places and words & {"hill", "hills", "meadow", "field", "garden", "park", "countryside"}:
        return "hills"
    return strong[0] if strong else (places[0] if places else "abstract")


def _caption(text: str) -> str:
    """The first dozen words, for the foot of the picture."""
    words = text.split()
    kept = " ".join(words[:12])
    if len(kept) > 90:
        kept = kept[:89].rstrip() + "…"
    return kept + ("…" if len(words) > 12 and not kept.endswith("…") else "")
