"""What an image is, told from its bytes; broken, bombs and animations are refused before anyone decodes them."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import DarkroomError
from shared.images.pixels import EXTENSIONS, ImageHeader, content_type_of, inspect
from tests.unit.images.outcomes import outcome
from tests.unit.images.pictures import picture, png_header, png_of

IDAT = (b"IDAT", b"")
IEND = (b"IEND", b"")


def refusal(content: bytes, **options: Any) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        inspect(BytesIO(content), **options)
    return caught.value


@pytest.mark.parametrize(
    ("mode", "image_format", "has_alpha"),
    [
        *((mode, "PNG", "A" in mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16")),
        *((mode, "JPEG", False) for mode in ("L", "RGB", "CMYK")),
        *((mode, "WEBP", mode == "RGBA") for mode in ("RGB", "RGBA")),
    ],
)
def test_the_header_is_what_was_written(mode: str, image_format: str, has_alpha: bool):
    header = inspect(BytesIO(picture((33, 17), mode, image_format)))
    name = image_format.lower()
    assert header == ImageHeader(name, f"image/{name}", 33, 17, has_alpha, 1)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["PNG", "JPEG", "WEBP"]), st.booleans())
def test_any_size_is_read_as_pillow_reads_it(width: int, height: int, image_format: str, fancy: bool):
    options: dict[str, Any] = {"PNG": {"optimize": fancy}, "JPEG": {"progressive": fancy}, "WEBP": {"lossless": fancy}}
    content = picture((width, height), "RGB", image_format, **options[image_format])
    header = inspect(BytesIO(content))
    with Image.open(BytesIO(content)) as image:
        assert (header.format.upper(), (header.width, header.height)) == (image.format, image.size)


def test_exif_and_profiles_before_the_size_are_stepped_over():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = picture((40, 20), "RGB", "JPEG", exif=exif, icc_profile=b"p" * 100_000, comment=b"c" * 300)
    assert (inspect(BytesIO(content)).width, inspect(BytesIO(content)).height) == (40, 20)


def test_transparency_of_a_palette_counts_as_alpha():
    assert inspect(BytesIO(picture(mode="P", transparency=0))).has_alpha


def test_the_stream_is_left_at_its_beginning_after_either_end():
    stream = BytesIO(picture())
    stream.seek(5)
    inspect(stream)
    assert stream.tell() == 0
    broken = BytesIO(picture()[:-20])
    with pytest.raises(DarkroomError):
        inspect(broken)
    assert broken.tell() == 0


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_a_cut_file_is_broken_wherever_it_was_cut(image_format: str):
    whole = picture((20, 20), "RGB", image_format)
    for length in range(len(whole) - 1):
        assert refusal(whole[:length]).code == "invalid_image"


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("appended", [1_000, 2_000_000])
def test_bytes_after_the_image_are_no_fault(image_format: str, appended: int):
    assert inspect(BytesIO(picture((9, 9), "RGB", image_format) + b"x" * appended)).width == 9


def test_the_end_of_a_jpeg_is_found_across_the_seams_of_the_search():
    head = picture((9, 9), "RGB", "JPEG")[:-2]
    scan = head.index(b"\xff\xda")
    searched_from = scan + 2 + int.from_bytes(head[scan + 2 : scan + 4], "big")
    for offset in range(-3, 3):
        filler = b"\0" * (searched_from + 2**20 + offset - len(head))
        assert inspect(BytesIO(head + filler + b"\xff\xd9" + b"\0" * 5_000)).width == 9
    assert refusal(head + b"\0" * (2**20 + 9_000)).code == "invalid_image"


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a" + b"\0" * 40, b"<svg/>", b"\x89PNG", b"%PDF-1.7 and more of it", b"\xff\xd8\xff"]
)
def test_what_is_no_image_is_refused(content: bytes):
    error = refusal(content, param="images[1]")
    assert (error.status, error.code, error.param) == (400, "invalid_image", "images[1]")


def test_a_kind_the_deployment_does_not_take_is_refused():
    error = refusal(picture(image_format="WEBP"), content_types=("image/png", "image/jpeg"))
    assert error.code == "invalid_image"
    assert "image/webp" in error.message


def test_a_decompression_bomb_is_refused_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = refusal(png_of(png_header(60_000, 60_000), IDAT, IEND))
    assert (error.code, error.status) == ("image_too_large", 400)
    assert "60000x60000" in error.message


def test_caps_are_the_last_that_is_taken():
    content = picture((10, 10))
    assert inspect(BytesIO(content), max_bytes=len(content), max_pixels=100).width == 10
    assert refusal(content, max_bytes=len(content) - 1).code == "image_too_large"
    assert refusal(content, max_pixels=99).code == "image_too_large"


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_is_refused(image_format: str):
    stream = BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(stream, image_format, save_all=True, append_images=frames[1:])
    error = refusal(stream.getvalue())
    assert (error.code, "animated (2 frames)" in error.message) == ("invalid_image", True)


BROKEN = {
    "no header": png_of(IDAT, IEND),
    "two headers": png_of(png_header(1, 1), png_header(60_000, 60_000), IDAT, IEND),
    "no data": png_of(png_header(1, 1), IEND),
    "no pixels": png_of(png_header(0, 5), IDAT, IEND),
    "odd colour type": png_of(png_header(1, 1, 5), IDAT, IEND),
    "short header": png_of((b"IHDR", b"\0" * 12), IDAT, IEND),
    "wrong checksum": png_of(png_header(1, 1), IDAT, IEND).replace(b"\x08\x02\x00\x00\x00", b"\x08\x06\x00\x00\x00"),
    "endless small chunks": png_of(png_header(1, 1), *[(b"tEXt", b"")] * 70_000, IDAT, IEND),
    "jpeg without size": b"\xff\xd8\xff\xda\x00\x02\xff\xd9",
    "jpeg without lines": b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x05\x01\x01\x11\x00\xff\xda\x00\x02\xff\xd9",
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 70_000,
    "webp without frames": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 10,
    "webp of small chunks": b"RIFF\x04\x00\x0a\0WEBP" + b"XXXX\0\0\0\0" * 82_000,
    "webp with a wrong signature": b"RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_structure_is_an_invalid_image(content: bytes):
    assert refusal(content).code == "invalid_image"


SAMPLES = [picture((20, 20), mode, kind) for mode, kind in (("RGBA", "PNG"), ("RGB", "JPEG"), ("RGBA", "WEBP"))]


@given(st.data())
def test_damaged_images_never_raise_anything_but_a_refusal(data: st.DataObject):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 80)))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    result = outcome(inspect, BytesIO(bytes(content)))
    if isinstance(result, DarkroomError):
        assert result.param == "image"
    else:
        assert 0 < result.width * result.height <= 75_000_000


@given(st.binary(max_size=60), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x30\0\0\0WEBP", b""]))
def test_rubbish_behind_a_magic_never_raises_anything_but_a_refusal(rubbish: bytes, magic: bytes):
    result = outcome(inspect, BytesIO(magic + rubbish))
    assert result.status == 400 if isinstance(result, DarkroomError) else result.frames == 1


def test_content_type_needs_twelve_bytes_at_most():
    for content in SAMPLES:
        assert content_type_of(content[:12]) in EXTENSIONS
    assert content_type_of(b"") is None
    assert content_type_of(b"RIFF\0\0\0\0WAVE") is None
