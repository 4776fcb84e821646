"""A mask fits its image and edits something, or is refused before it is paid for."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.masks import check_mask
from shared.images.pixels import ImageHeader, inspect
from tests.unit.images.outcomes import outcome
from tests.unit.images.pictures import mask, picture, png_header, png_of

FIRST = ImageHeader("png", "image/png", 8, 6)


def refusal(content: bytes, first: ImageHeader = FIRST) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        check_mask(BytesIO(content), first)
    assert (caught.value.status, caught.value.param) == (400, "mask")
    return caught.value


def test_a_mask_with_one_transparent_pixel_is_fit():
    stream = BytesIO(mask())
    header = check_mask(stream, FIRST)
    assert (header.width, header.height, header.has_alpha) == (8, 6, True)
    assert stream.tell() == 0


@pytest.mark.parametrize("hole", [1, 128, 255])
def test_a_mask_without_a_fully_transparent_pixel_is_refused(hole: int):
    error = refusal(mask(hole=hole))
    assert error.code == "invalid_mask"
    assert "alpha 0" in error.message


def test_a_mask_of_another_size_is_refused_with_both_sizes():
    error = refusal(mask((9, 6)))
    assert error.code == "invalid_mask"
    assert "9x6" in error.message
    assert "8x6" in error.message


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_mask_without_alpha_is_refused(mode: str):
    error = refusal(picture(mode=mode))
    assert (error.code, "no alpha channel" in error.message) == ("invalid_mask", True)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_a_mask_that_is_no_png_is_refused(image_format: str):
    assert refusal(picture(image_format=image_format)).code == "invalid_mask"


def test_grey_and_paletted_masks_with_transparency_are_fit():
    assert check_mask(BytesIO(picture(mode="LA")), FIRST).has_alpha
    assert check_mask(BytesIO(picture(mode="P", transparency=0)), FIRST).has_alpha
    assert refusal(picture(mode="P", transparency=7)).code == "invalid_mask"


def test_the_mask_may_have_another_format_than_a_photograph():
    photograph = inspect(BytesIO(picture((30, 20), "RGB", "JPEG")))
    assert check_mask(BytesIO(mask((30, 20))), photograph).format == "png"


def test_a_mask_whose_pixels_are_rubbish_is_an_invalid_image():
    content = png_of(png_header(8, 6, 6), (b"IDAT", b"rubbish"), (b"IEND", b""))
    assert refusal(content).code == "invalid_image"


def test_a_mask_too_large_to_decode_is_judged_by_its_header():
    content = png_of(png_header(5_000, 5_000, 6), (b"IDAT", b"rubbish"), (b"IEND", b""))
    assert check_mask(BytesIO(content), ImageHeader("png", "image/png", 5_000, 5_000)).width == 5_000


@given(st.data())
def test_a_damaged_mask_never_raises_anything_but_a_refusal(data: st.DataObject):
    content = bytearray(mask())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    result = outcome(check_mask, BytesIO(bytes(content)), FIRST)
    assert result.param == "mask" if isinstance(result, DarkroomError) else result.has_alpha
