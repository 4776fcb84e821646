"""Where images come from: the forms that are taken, and the ways out of a container that are not."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.sources import MAX_IMAGE_BYTES, Source, decode_source_data, source_of, sources_of
from tests.unit.images.outcomes import outcome

DATA = b64encode(b"\x89PNG bytes of any kind").decode()


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (DATA, Source(data=DATA)),
        (f"data:image/png;base64,{DATA}", Source(data=f"data:image/png;base64,{DATA}")),
        ({"data": DATA}, Source(data=DATA)),
        ({"blob": "results/2026/11/22/x/0.png"}, Source(blob="results/2026/11/22/x/0.png")),
        ({"blob": "uploads/цапля 1.png", "data": None}, Source(blob="uploads/цапля 1.png")),
        ({"url": "https://example.com:443/a.png?sig=x%20y"}, Source(url="https://example.com:443/a.png?sig=x%20y")),
        ("https://example.com/a.png", Source(url="https://example.com/a.png")),
        ({"image_url": "https://example.com/a.png"}, Source(url="https://example.com/a.png")),
        ({"image_url": f"data:image/jpeg;base64,{DATA}"}, Source(data=f"data:image/jpeg;base64,{DATA}")),
    ],
)
def test_each_form_of_a_source_is_understood(value: Any, source: Source):
    assert source_of("image", value) == source


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (5, "image"),
        ({}, "image"),
        ({"data": None}, "image"),
        ({"data": DATA, "blob": "uploads/a.png"}, "image"),
        ({"data": 5}, "image.data"),
        ({"data": ""}, "image.data"),
        ({"data": "!!!"}, "image.data"),
        ({"data": "data:text/plain;base64,AAAA"}, "image.data"),
        ({"data": "data:image/png,AAAA"}, "image.data"),
        ({"data": "\ud800AAA"}, "image.data"),
        ({"file_id": "file-1"}, "image.file_id"),
        ({"path": "x"}, "image.path"),
        ({"image_url": "http://example.com/a.png"}, "image.image_url"),
    ],
)
def test_a_source_of_another_form_is_refused_by_its_place(value: Any, param: str):
    with pytest.raises(DarkroomError) as caught:
        source_of("image", value)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_source_knows_where_it_was_written():
    written = [DATA, {"data": DATA}, {"image_url": "https://example.com/a"}, {"url": "https://example.com/a"}]
    places = ["images[0]", "images[1].data", "images[2].image_url", "images[3].url"]
    sources = sources_of("images", written, 16)
    assert [source.param for source in sources] == places
    assert sources[2] == sources[3], "the same image, however it was written"
    assert [source.param for source in sources_of("image", [DATA, DATA], 16, before=2)] == ["image[2]", "image[3]"]
    assert all("param" not in source.to_dict() for source in sources)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "uploads",
            "uploads/",
            "/a",
            "x" * 64 + "/a",
            "-".join("x" * 33) + "/a",
            "",
            "up/a",
            "UPLOADS/a",
            "a--b/x",
            "-uploads/a",
            "../uploads/a",
        ),
        *("uploads//a", "uploads/../requests/a", "uploads/./a", "uploads/a/", "uploads/a\\b", "uploads/%2e%2e/a"),
        *("uploads/a?sig=x", "uploads/a#b", "uploads/a\x00", "uploads/a\nb", "uploads/\x85", "uploads/" + "x" * 1_024),
    ],
)
def test_a_blob_name_with_a_way_out_is_refused(name: str):
    with pytest.raises(DarkroomError) as caught:
        source_of("image", {"blob": name})
    assert caught.value.param == "image.blob"


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/a", "https:///a", "https://", "ftp://example.com/a", "https://user@example.com/a"),
        *("https://u:p@example.com/a", "https://example.com:0/a", "https://example.com/a#b", "https://[::1/a"),
        *(
            "https://example.com/a b",
            "https://example.com/\n",
            "https://exämple.com/a",
            "https://example.com:x/",
            "\ud800",
        ),
        "https://example.com/" + "x" * 8_192,
    ],
)
def test_a_url_that_is_not_plain_https_is_refused_unrepeated(url: str):
    with pytest.raises(DarkroomError) as caught:
        source_of("image", {"url": url})
    assert caught.value.param == "image.url"
    assert "example.com" not in caught.value.message


def test_a_list_is_measured_before_its_items_are_read():
    with pytest.raises(DarkroomError) as caught:
        sources_of("images", ["!"] * 17, 16)
    assert caught.value.param == "images"
    with pytest.raises(DarkroomError) as caught:
        sources_of("images", [DATA, "!"], 16)
    assert caught.value.param == "images[1]"


def test_a_source_is_exactly_one_thing():
    with pytest.raises(ValueError, match="exactly one"):
        Source()
    with pytest.raises(ValueError, match="exactly one"):
        Source(blob="a/b", data="x")


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["", "data:image/png;base64,", "DATA:image/JPEG;Base64,"]))
def test_data_comes_back_byte_for_byte(content: bytes, head: str):
    text = head + b64encode(content).decode()
    assert decode_source_data(text) == content


@given(st.binary(min_size=1, max_size=200), st.integers(1, 76))
def test_line_breaks_in_base64_are_tolerated(content: bytes, width: int):
    text = b64encode(content).decode()
    lines = "\r\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert decode_source_data(f" {lines}\n") == content


@given(st.text(max_size=40))
def test_text_that_is_no_base64_is_an_invalid_image(text: str):
    result = outcome(decode_source_data, text, param="mask")
    assert isinstance(result, bytes) or (result.code, result.param) == ("invalid_image", "mask")


@pytest.mark.parametrize("text", ["AAA", "AA=A", "A===", "AAAA====", "AA-_", "AAAA!", "data:image/png;base64,"])
def test_damaged_base64_is_refused(text: str):
    with pytest.raises(DarkroomError, match="base64"):
        decode_source_data(text)


def test_data_over_the_cap_is_refused():
    assert decode_source_data(b64encode(b"x" * 10).decode(), 10) == b"x" * 10
    with pytest.raises(DarkroomError) as caught:
        decode_source_data(b64encode(b"x" * 11).decode(), 10)
    assert caught.value.code == "image_too_large"
    with pytest.raises(DarkroomError) as caught:
        source_of("image", "A" * (MAX_IMAGE_BYTES * 3 // 2))
    assert caught.value.code == "image_too_large"
