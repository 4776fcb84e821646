"""Each model on each platform takes what its row says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.capabilities import capabilities, check, family, known_models, problem, size_of
from shared.images.request import ImageRequest

REQUEST = ImageRequest("generate", "a heron", "main")


def test_a_size_is_refused_in_the_words_of_the_service():
    with pytest.raises(DarkroomError) as caught:
        check(replace(REQUEST, size="512x512"), "gpt-image-1")
    assert caught.value.message == (
        "Invalid value: '512x512'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'."
    )
    assert (caught.value.code, caught.value.param, caught.value.type) == (
        "invalid_value",
        "size",
        "invalid_request_error",
    )


def test_too_many_images_are_refused_in_the_words_of_the_service():
    with pytest.raises(DarkroomError) as caught:
        check(replace(REQUEST, n=11), "gpt-image-1")
    assert (
        caught.value.message == "Invalid 'n': integer above maximum value. Expected a value <= 10, but got 11 instead."
    )


ACCEPTED = [
    *(("gpt-image-1", "azure", {"size": size}) for size in ("1024x1024", "1024x1536", "1536x1024", "auto")),
    ("gpt-image-1", "azure", {"background": "transparent"}),
    ("gpt-image-1", "azure", {"moderation": "low"}),
    ("gpt-image-1", "azure", {"kind": "edit", "input_fidelity": "high"}),
    ("gpt-image-1", "azure", {"output_format": "jpeg", "output_compression": 0}),
    ("gpt-image-1", "azure", {"output_format": "png", "output_compression": 100}),
    ("gpt-image-1", "openai", {"output_format": "webp", "background": "transparent", "output_compression": 50}),
    ("gpt-image-1", "openai", {"kind": "edit", "moderation": "low"}),
    ("gpt-image-1", "azure", {"stream": True, "partial_images": 3}),
    ("gpt-image-1.5", "azure", {"kind": "edit", "input_fidelity": "low"}),
    *(("gpt-image-2", "azure", {"size": size}) for size in ("auto", "3840x2160", "2160x3840", "1792x1024", "1536x512")),
    ("gpt-image-2.5-flare", "azure", {"quality": "xhigh"}),
    ("gpt-image-2.5-sunburst", "azure", {"quality": "max", "background": "transparent", "size": "2048x2048"}),
]


@pytest.mark.parametrize(("model", "platform", "fields"), ACCEPTED)
def test_what_a_model_can_do_is_accepted(model: str, platform: str, fields: dict[str, Any]):
    assert check(replace(REQUEST, **fields), model, platform) is None


REFUSED = [
    ("gpt-image-1", "azure", {"output_format": "webp"}, "output_format"),
    ("gpt-image-1", "azure", {"size": "1792x1024"}, "size"),
    ("gpt-image-1", "azure", {"quality": "max"}, "quality"),
    ("gpt-image-1", "azure", {"kind": "edit", "moderation": "low"}, "moderation"),
    ("gpt-image-1", "azure", {"partial_images": 1}, "partial_images"),
    ("gpt-image-1", "azure", {"stream": True, "partial_images": 4}, "partial_images"),
    ("gpt-image-1", "azure", {"prompt": "x" * 32_001}, "prompt"),
    ("gpt-image-1", "azure", {"kind": "edit", "input_fidelity": "medium"}, "input_fidelity"),
    ("gpt-image-1-mini", "azure", {"kind": "edit", "input_fidelity": "low"}, "input_fidelity"),
    ("gpt-image-2", "azure", {"kind": "edit", "input_fidelity": "high"}, "input_fidelity"),
    ("gpt-image-2", "azure", {"quality": "xhigh"}, "quality"),
    ("gpt-image-2", "azure", {"background": "transparent"}, "background"),
    *(
        ("gpt-image-2", "azure", {"size": size}, "size")
        for size in ("1000x1000", "4096x1024", "3840x1024", "512x512", "3840x3840", "1024X1024", "01024x1024", "big")
    ),
]


@pytest.mark.parametrize(("model", "platform", "fields", "param"), REFUSED)
def test_what_a_model_cannot_do_is_refused_by_field(model: str, platform: str, fields: dict[str, Any], param: str):
    with pytest.raises(DarkroomError) as caught:
        check(replace(REQUEST, **fields), model, platform)
    assert caught.value.param == param


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_free_size_is_allowed_exactly_within_its_bounds(columns: int, rows: int):
    width, height = columns * 16, rows * 16
    inside = 655_360 <= width * height <= 8_294_400 and max(width, height) <= 3_840
    fits = inside and max(width, height) <= 3 * min(width, height)
    assert capabilities("gpt-image-2").allows_size(f"{width}x{height}") == fits


@pytest.mark.parametrize("model", known_models())
def test_defaults_are_themselves_supported(model: str):
    for platform in ("azure", "openai"):
        row = capabilities(model, platform)
        assert (row.model, row.platform) == (model, platform)
        check(replace(REQUEST, size=row.default_size, quality=row.default_quality), model, platform)


def test_azure_takes_no_webp_in_either_direction():
    assert capabilities("gpt-image-1").output_formats == ("png", "jpeg")
    assert capabilities("gpt-image-1").input_content_types == ("image/png", "image/jpeg")
    assert "image/webp" in capabilities("gpt-image-1", "openai").input_content_types


def test_a_dated_version_is_its_model():
    assert family("gpt-image-1-2025-04-15") == "gpt-image-1"
    assert family("GPT-Image-1.5") == "gpt-image-1.5"
    assert family("gpt-image-10") is None


def test_an_unknown_model_gets_the_first_ones_rules_and_a_sentence_for_health():
    assert capabilities("picture-9").sizes == capabilities("gpt-image-1").sizes
    assert "picture-9" in (problem("picture-9") or "")
    assert problem("gpt-image-1") is None


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_none(size: str):
    pixels = size_of(size)
    assert pixels is None or f"{pixels[0]}x{pixels[1]}" == size
