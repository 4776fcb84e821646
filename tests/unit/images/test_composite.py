"""Pixels of derived images: outside a mask they are the source's to the bit, inside it the model's."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from shared.errors import DarkroomError
from shared.images import composite, fitting
from shared.images.composite import FEATHER, UnfitImageError
from tests.unit.images.pictures import png_of

MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "JPEG", "keyed", "transparent palette")


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    stream.seek(0)
    return stream


def noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, random.Random(seed).randbytes(size[0] * size[1] * bands))


def source_of(mode: str, size: tuple[int, int], seed: int) -> io.BytesIO:
    """A file of random pixels, of a kind that cameras and programs write."""
    if mode == "JPEG":
        return encoded(noise(size, "RGB", seed), "JPEG", quality=90)
    if mode == "1":
        return encoded(noise(size, "L", seed).convert("1"))
    if mode == "keyed":
        image = noise(size, "RGB", seed)
        return encoded(image, transparency=image.getpixel((0, 0)))
    if mode in ("P", "transparent palette"):
        image = noise(size, "RGB", seed).convert("P", palette=Image.Palette.ADAPTIVE)
        return encoded(image, **({"transparency": 0} if mode != "P" else {}))
    return encoded(noise(size, mode, seed))


def mask_of(holes: list[list[bool]], seed: int) -> io.BytesIO:
    """Alpha 0 in the holes, anything above it elsewhere."""
    some = random.Random(seed)
    mask = Image.new("RGBA", (len(holes[0]), len(holes)))
    mask.putdata([(0, 0, 0, 0 if hole else some.choice((1, 127, 255))) for row in holes for hole in row])
    return encoded(mask)


def pixels(stream: io.BytesIO | bytes) -> Image.Image:
    data = stream if isinstance(stream, bytes) else stream.getvalue()
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA")


def depth(holes: list[list[bool]], x: int, y: int) -> int:
    """How many steps, slanting ones too, it takes from a pixel to the nearest one that is kept; many if none is."""
    height, width = len(holes), len(holes[0])
    for steps in range(FEATHER + 1):
        columns = range(max(0, x - steps), min(width, x + steps + 1))
        rows = range(max(0, y - steps), min(height, y + steps + 1))
        if any(not holes[row][column] for row in rows for column in columns):
            return steps
    return FEATHER + 1


@st.composite
def holes(draw: st.DrawFn) -> list[list[bool]]:
    """A mask of any small size: rectangles, and single pixels in and beside them."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    found = [[draw(st.booleans())] * width] * height
    found = [list(row) for row in found]
    place = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    for _ in range(draw(st.integers(0, 3))):
        (left, top), (right, bottom) = draw(place), draw(place)
        opens = draw(st.booleans())
        for y in range(min(top, bottom), max(top, bottom) + 1):
            for x in range(min(left, right), max(left, right) + 1):
                found[y][x] = opens
    for x, y in draw(st.lists(place, max_size=4)):
        found[y][x] = not found[y][x]
    return found


@given(holes(), st.sampled_from(MODES), st.sampled_from(["RGB", "RGBA"]), st.integers(0, 9))
@settings(max_examples=150)
def test_pixels_outside_are_the_sources_and_those_well_inside_the_models(
    holes: list[list[bool]], mode: str, edit_mode: str, seed: int
):
    size = (len(holes[0]), len(holes))
    source, edit = source_of(mode, size, seed), encoded(noise(size, edit_mode, seed + 1))

    made = pixels(composite.preserve(edit, source, mask_of(holes, seed)))

    assert made.size == size
    of_source, of_edit = pixels(source), pixels(edit)
    for y in range(size[1]):
        for x in range(size[0]):
            here, kept, new = (image.getpixel((x, y)) for image in (made, of_source, of_edit))
            inside = depth(holes, x, y)
            if inside == 0:
                assert here == kept, (x, y)
            elif inside > FEATHER:
                assert here == new, (x, y)
            else:
                weight = inside / (FEATHER + 1)
                expected = [k + (n - k) * weight for k, n in zip(kept, new, strict=True)]
                assert all(abs(h - e) <= 1 for h, e in zip(here, expected, strict=True)), (x, y)


@given(st.integers(1, 3), st.integers(0, 99), st.booleans())
@settings(max_examples=20)
def test_bands_of_an_image_join_without_a_seam(bands: int, offset: int, wide: bool):
    """Taller than a band, so that the feather crosses from one into the next."""
    height = 256 * bands + offset
    width = 12 if wide else 1
    source, edit = source_of("RGB", (width, height), 1), encoded(noise((width, height), "RGB", 2))
    holes = [[y > 250] * width for y in range(height)]

    made = pixels(composite.preserve(edit, source, mask_of(holes, 0)))

    of_source, of_edit = pixels(source), pixels(edit)
    assert made.crop((0, 0, width, 251)).tobytes() == of_source.crop((0, 0, width, 251)).tobytes()
    first = 251 + FEATHER
    assert made.crop((0, first, width, height)).tobytes() == of_edit.crop((0, first, width, height)).tobytes()


@pytest.mark.parametrize(
    ("size", "edit_size"), [((900, 600), (1536, 1024)), ((1800, 1200), (1536, 1024)), ((64, 64), (1024, 1024))]
)
def test_an_edit_of_another_size_is_scaled_as_a_whole(size: tuple[int, int], edit_size: tuple[int, int]):
    edit = encoded(Image.radial_gradient("L").resize(edit_size).convert("RGB"))
    source = source_of("RGB", size, 3)
    clear = encoded(Image.new("RGBA", size))

    made = pixels(composite.preserve(edit, source, clear))

    whole = pixels(edit).resize(size, Image.Resampling.LANCZOS)
    assert max(most for _, most in ImageChops.difference(made, whole).getextrema()) <= 1


def test_a_mask_that_keeps_all_gives_the_source():
    source = source_of("RGB", (30, 30), 1)
    made = composite.preserve(encoded(noise((30, 30), "RGB", 2)), source, encoded(Image.new("RGBA", (30, 30), "black")))
    assert pixels(made).tobytes() == pixels(source).tobytes()


def test_the_sources_colour_profile_is_kept_and_where_it_was_taken_is_not():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "the camera's maker"
    source = encoded(noise((40, 40), "RGB", 1), "JPEG", icc_profile=profile, exif=exif)
    made = composite.preserve(encoded(noise((40, 40), "RGB", 2)), source, encoded(Image.new("RGBA", (40, 40))))
    with Image.open(io.BytesIO(made)) as image:
        assert image.format == "PNG"
        assert image.info["icc_profile"] == profile
        assert not image.getexif()


def test_an_edit_of_another_shape_is_not_put_out_of_place():
    with pytest.raises(UnfitImageError, match="1536x1024"):
        composite.preserve(
            encoded(Image.new("RGB", (1536, 1024))), source_of("L", (64, 64), 1), encoded(Image.new("RGBA", (64, 64)))
        )


# -- what is refused before anything is paid ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_sources_that_can_be_kept_are_taken(mode: str):
    source = source_of(mode, (20, 10), 1)
    composite.check_source(source)
    assert source.tell() == 0


def sixteen_bit_colours() -> io.BytesIO:
    """Pillow writes none of these."""
    header = b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = (b"\0" + bytes(4 * 6)) * 4
    return io.BytesIO(png_of(header, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")))


def oriented(orientation: int) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (encoded(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
        (encoded(Image.new("I;16", (8, 8), 12_345)), "16 bits"),
        (sixteen_bit_colours(), "16 bits"),
        (oriented(6), "orientation"),
        (io.BytesIO(encoded(noise((64, 64), "RGB", 1)).getvalue()[:4_000]), "cannot be read"),
        (io.BytesIO(b"no image"), "cannot be read"),
    ],
    ids=["cmyk", "16 bits of grey", "16 bits of colours", "turned", "cut", "none"],
)
def test_a_source_that_cannot_be_kept_is_refused_with_the_reason(source: io.BytesIO, why: str):
    with pytest.raises(DarkroomError, match=why) as caught:
        composite.check_source(source)
    assert (caught.value.code, caught.value.param) == ("invalid_image", "image")


@pytest.mark.parametrize("orientation", [0, 1])
def test_an_orientation_that_turns_nothing_is_taken(orientation: int):
    composite.check_source(oriented(orientation))


def test_pixels_beyond_the_cap_are_not_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(composite, "MAX_PIXELS", 99)
    with pytest.raises(UnfitImageError, match="over 99 pixels"):
        composite.fit(encoded(Image.new("RGB", (10, 10))), 16, 16, "cover")


# -- other sizes -------------------------------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 200), st.integers(1, 200))


@given(SIZES, SIZES, st.sampled_from(["contain", "cover"]), st.sampled_from(["RGB", "RGBA", "JPEG"]))
@settings(max_examples=100)
def test_a_fitted_image_has_exactly_the_size_and_format(
    size: tuple[int, int], wanted: tuple[int, int], how: str, mode: str
):
    made = composite.fit(source_of(mode, size, 1), *wanted, how)
    with Image.open(io.BytesIO(made)) as image:
        assert image.size == wanted
        assert image.format == ("JPEG" if mode == "JPEG" else "PNG")
        assert image.mode == ("RGBA" if mode == "RGBA" else "RGB")


def test_cover_keeps_the_middle_and_fills_all():
    striped = Image.new("RGB", (300, 100), "red")
    striped.paste("blue", (100, 0, 200, 100))
    made = pixels(composite.fit(encoded(striped), 50, 50, "cover"))
    assert {made.getpixel((x, 25)) for x in range(5, 45)} == {(0, 0, 255, 255)}


@pytest.mark.parametrize(("mode", "padding"), [("RGB", (255, 255, 255, 255)), ("RGBA", (255, 255, 255, 0))])
def test_contain_keeps_all_and_pads_the_sides(mode: str, padding: tuple[int, ...]):
    made = pixels(composite.fit(encoded(Image.new(mode, (100, 100), "red")), 200, 100, "contain"))
    assert made.getpixel((100, 50)) == (255, 0, 0, 255)
    assert {made.getpixel((x, y)) for x in (0, 49, 150, 199) for y in (0, 99)} == {padding}


def test_the_same_size_again_changes_no_pixel():
    image = encoded(noise((64, 48), "RGBA", 5))
    for how in ("contain", "cover"):
        assert pixels(composite.fit(image, 64, 48, how)).tobytes() == pixels(image).tobytes()


def test_a_jpeg_is_as_compressed_as_was_asked():
    image = source_of("JPEG", (200, 200), 1)
    sizes = [len(composite.fit(image, 100, 100, "cover", quality=quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


def test_as_many_pixels_as_a_fitted_image_can_have_are_preserved():
    assert fitting.MAX_PIXELS == fitting.MAX_EDGE**2 == composite.MAX_PIXELS
