"""The pictures: what the words of a prompt do, scripts, quality, edits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, features

from local.model.pictures import fonts
from local.model.pictures.compose import painted, sticker
from local.model.pictures.editing import hole_of, inpainted, restyled
from local.model.pictures.lettering import fitted, runs_of, set_text
from local.model.pictures.partial import unfinished
from local.model.pictures.scene import read_scene
from local.model.pictures.terrain import PAINTERS
from local.model.pictures.things import THINGS
from local.model.pictures.vocabulary import PLACES
from local.model.pictures.vocabulary import THINGS as NAMED_THINGS
from local.model.sources import Source
from tests.unit.local_model.support import mask

SMALL = (160, 120)
SAMPLES = {
    "default": "Harbour Ёжик Ελλάδα नमस्ते",
    "cjk": "日本語の文字 中文 한국어",
    "arabic": "مرحبا بالعالم",
    "hebrew": "שלום עולם",
}


@pytest.mark.parametrize(
    ("prompt", "place", "hour", "things"),
    [
        ("A lighthouse at sunset", "sea", "sunset", ("lighthouse",)),
        ("two cats in a snowy city at night", "city", "night", ("cat",)),
        ("a fox in the pine woods on a misty morning", "forest", "dawn", ("fox",)),
        ("закат над морем", "sea", "sunset", ()),
        ("кота на горе", "mountains", None, ("cat",)),
        ("海边的猫", "sea", None, ("cat",)),
        ("قطة على جبال", "mountains", None, ("cat",)),
        ("eine Katze am Strand", "sea", None, ("cat",)),
        ("hope", "abstract", None, ()),
    ],
)
def test_words_choose_place_hour_and_things(prompt: str, place: str, hour: str | None, things: tuple[str, ...]) -> None:
    scene = read_scene(prompt, 0)
    assert (scene.place, scene.things) == (place, things)
    if hour is not None:
        assert scene.hour == hour


@pytest.mark.parametrize("quoted", ['"Open"', "'Open'", "“Open”", "«Open»", "„Open“", "「Open」", "‘Open’"])
def test_words_in_any_quotation_marks_are_the_title(quoted: str) -> None:
    assert read_scene(f"a shop sign that says {quoted} at night", 0).title == "Open"


def test_an_apostrophe_is_no_quotation_mark() -> None:
    assert read_scene("the dog's bowl and the cat's cup", 0).title == ""


def test_every_place_has_a_painter_and_every_thing_strokes() -> None:
    assert set(PLACES) <= set(PAINTERS)
    assert set(NAMED_THINGS) == set(THINGS)


@pytest.mark.parametrize("place", sorted(PAINTERS))
@pytest.mark.parametrize("hour", ["day", "night", "rainy sunset", "foggy snowy dawn", "storm"])
def test_every_place_can_be_painted_at_every_hour(place: str, hour: str) -> None:
    image = painted(read_scene(f"{place} {hour}", 0), *SMALL, "low")
    assert (image.size, image.mode) == (SMALL, "RGB")
    assert np.asarray(image).std() > 8


@pytest.mark.parametrize("thing", sorted(THINGS))
def test_every_thing_shows(thing: str) -> None:
    scene = read_scene("meadow at noon", 0)
    with_thing = painted(read_scene(f"{thing}", 0), *SMALL, "low", words=False)
    cut_out = sticker(read_scene(thing, 0), *SMALL, "low")
    assert cut_out.getchannel("A").getextrema() == (0, 255)
    assert with_thing.tobytes() != painted(scene, *SMALL, "low", words=False).tobytes()


def test_the_same_scene_paints_the_same_pixels_and_another_index_others() -> None:
    first, again, other = [painted(read_scene("a boat", index), *SMALL, "high") for index in (0, 0, 1)]
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_quality_shows_as_detail() -> None:
    low, medium, high = [painted(read_scene("forest", 0), 512, 512, quality) for quality in ("low", "medium", "high")]
    sizes = [len(_png(image)) for image in (low, medium, high)]
    assert sizes == sorted(sizes)
    assert sizes[0] * 2 < sizes[1]


@settings(max_examples=40, deadline=None)
@given(prompt=st.text(min_size=1, max_size=120), size=st.sampled_from([(64, 64), (16, 200), (300, 40)]))
def test_any_text_at_all_gives_a_picture(prompt: str, size: tuple[int, int]) -> None:
    assert painted(read_scene(prompt, 0), *size, "low").size == size


def test_colour_words_colour_the_picture() -> None:
    red, blue = [
        np.asarray(painted(read_scene(f"a {name} idea", 0), *SMALL, "low", words=False)).mean((0, 1))
        for name in ("red", "blue")
    ]
    assert red[0] - red[2] > blue[0] - blue[2]


# Scripts


@pytest.mark.parametrize("script", sorted(SAMPLES))
def test_each_script_is_set_without_boxes_for_missing_letters(script: str) -> None:
    letters = [letter for letter in SAMPLES[script] if letter.isalpha()]
    assert {fonts.script_of(letter) for letter in letters} == {script}
    assert all(fonts.has_glyph(script, letter) for letter in letters)


def test_a_letter_no_font_has_is_left_out() -> None:
    assert not fonts.has_glyph("default", "\U0001f642")
    assert [run.text for run in runs_of("a\U0001f642b")] == ["ab"]
    assert fitted("\U0001f642", 100, 100, 40) is None


def test_a_right_to_left_line_begins_at_the_right() -> None:
    assert next(run.text for run in runs_of("שלום 123 hello world עולם")) == "עולם"
    assert "".join(run.text for run in runs_of("abc שלום def")).replace(" ", "") == "abcשלוםdef"


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow shapes no Arabic")
def test_arabic_letters_are_joined() -> None:
    face = fonts.font("arabic", 64)
    joined, apart = face.getlength("عربي", direction="rtl"), sum(face.getlength(letter) for letter in "عربي")
    assert joined < apart


@pytest.mark.parametrize("text", list(SAMPLES.values()))
def test_set_text_stays_inside_its_box(text: str) -> None:
    image = Image.new("RGB", (600, 200))
    setting = fitted(text, 500, 150, 90)
    assert setting is not None
    set_text(image, setting, (300, 100), (255, 255, 255), None)
    box = image.getbbox()
    assert box is not None
    assert box[0] >= 40
    assert box[2] <= 560
    assert box[3] - box[1] <= 160


def test_long_text_is_made_smaller_and_then_cut_short() -> None:
    short, long = fitted("word", 400, 60, 50), fitted("word " * 200, 400, 60, 50)
    assert short is not None
    assert long is not None
    assert long.size < short.size
    assert long.height <= 60
    assert long.lines[-1][-1].text.endswith("…")


def test_without_the_font_packages_words_are_still_set(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fonts, "_PLACES", dict.fromkeys(fonts._PLACES, ()))
    for cached in (fonts.font_file, fonts._has_glyph):
        cached.cache_clear()
    fonts._open_fonts.__dict__.clear()
    try:
        for _ in range(2):
            assert painted(read_scene("a sign “Hello שלום”", 0), *SMALL, "low").size == SMALL
        warnings = [record.getMessage() for record in caplog.records if "hebrew" in record.getMessage()]
        assert len(warnings) == 1
    finally:
        monkeypatch.undo()
        for cached in (fonts.font_file, fonts._has_glyph):
            cached.cache_clear()
        fonts._open_fonts.__dict__.clear()


# Edits


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("prompt", ["a cat", "a forest at dawn", "a cat “MEOW”", "a balloon"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_inpainting_touches_nothing_outside_the_hole(prompt: str, mode: str) -> None:
    base = Image.effect_noise((200, 150), 80).convert(mode)
    hole = hole_of(Source(io.BytesIO(mask(200, 150, (60, 40, 180, 140))), "image/png", 200, 150), 200, 150)
    edited = inpainted(base, hole, read_scene(prompt, 0), "low")
    changed = ImageChops.difference(edited.convert("RGB"), base.convert("RGB")).convert("L")
    assert edited.mode == mode
    assert Image.composite(changed, Image.new("L", changed.size), ImageChops.invert(hole)).getbbox() is None
    assert np.asarray(changed)[60:120, 80:160].mean() > 10


def test_only_fully_transparent_mask_pixels_are_holes() -> None:
    soft = Image.frombytes("L", (4, 1), bytes([0, 1, 128, 255])).resize((64, 64), Image.Resampling.NEAREST)
    image = Image.merge("RGBA", [soft, soft, soft, soft])
    hole = hole_of(Source(io.BytesIO(_png(image)), "image/png", 64, 64), 64, 64)
    assert set(np.unique(np.asarray(hole))) == {0, 255}
    assert ((np.asarray(hole) == 255) == (np.asarray(soft) == 0)).all()


def test_a_restyled_picture_shows_the_other_sources() -> None:
    base = Image.new("RGB", (400, 300), "grey")
    others = [Image.new("RGB", (80, 60), colour) for colour in ("#00ff00", "#ff00ff")]
    result = np.asarray(restyled(base, others, read_scene("a calm wall", 0))).reshape(-1, 3).astype(int)
    for wanted in ((0, 255, 0), (255, 0, 255)):
        assert (np.abs(result - wanted).sum(1) < 30).sum() > 500


def test_unfinished_pictures_come_closer_to_the_finished_one() -> None:
    image = painted(read_scene("city at night", 0), 256, 256, "high")
    distances = [
        float(np.abs(np.asarray(unfinished(image, step, 3), float) - np.asarray(image, float)).mean())
        for step in range(3)
    ]
    assert distances == sorted(distances, reverse=True)
