"""Sizes the model does not have: what it is asked for instead, and what nobody makes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images import fitting
from shared.images.capabilities import capabilities, size_of
from shared.images.request import ImageRequest, parse

DEPLOYMENTS = {"main": "gpt-image-1", "two": "gpt-image-2"}
EDGES = st.integers(fitting.MIN_EDGE, fitting.MAX_EDGE)
SOURCE = "AAAA"


def ask(kind: str = "generate", size_fit: str = "contain", **fields: Any) -> ImageRequest:
    return parse({"prompt": "a heron", **fields}, kind=kind, deployments=DEPLOYMENTS, size_fit=size_fit)


def preserving(**fields: Any) -> ImageRequest:
    return ask("edit", "refuse", **{"images": [SOURCE], "mask": SOURCE, "preserve": "exact", **fields})


def settled(width: int, height: int, **fields: Any) -> ImageRequest:
    request = preserving(**fields)
    return fitting.settle(request, capabilities(DEPLOYMENTS[request.model]), width, height)


@pytest.mark.parametrize(
    ("model", "asked", "made"),
    [
        ("main", "512x512", "1024x1024"),
        ("main", "800x600", "1536x1024"),
        ("main", "1920x1080", "1536x1024"),
        ("main", "1080x1920", "1024x1536"),
        ("main", "1100x1000", "1024x1024"),
        ("main", "4096x16", "1536x1024"),
        ("main", "1792x1024", "1536x1024"),
        ("two", "1000x1000", "1008x1008"),
        ("two", "1920x1080", "1920x1088"),
        ("two", "256x256", "816x816"),
        ("two", "4096x4096", "2880x2880"),
        ("two", "4096x16", "1440x480"),
    ],
)
def test_the_nearest_size_by_shape_and_then_by_pixels_is_made(model: str, asked: str, made: str):
    request = ask(model=model, size=asked)
    assert (request.size, request.fitted_size, request.fit) == (made, asked, "contain")
    assert request.adapted == ({"field": "size", "from": asked, "to": made, "how": "contain"},)
    assert request.derives


@given(EDGES, EDGES, st.sampled_from(["gpt-image-1", "gpt-image-2"]))
def test_the_nearest_size_is_one_the_model_has_and_of_no_worse_shape_than_any_other(
    width: int, height: int, model: str
):
    row = capabilities(model)
    chosen = fitting.nearest(width, height, row)
    assert row.allows_size(chosen)
    difference = _difference((width, height), chosen)
    others = [_difference((width, height), size) for size in row.sizes if size != "auto"]
    assert difference <= max(0.01, min(others)) + 1e-6


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "auto"])
def test_a_size_the_model_has_is_left_alone(size: str):
    request = ask(size=size)
    assert (request.size, request.fit, request.fitted_size, request.adapted) == (size, None, None, ())
    assert not request.derives


def test_no_size_asks_for_the_models_own():
    assert not ask().derives


@pytest.mark.parametrize("size", ["800x600", "512x512", "15x4096", "huge"])
def test_a_size_the_model_does_not_have_is_refused_unless_the_app_fits(size: str):
    with pytest.raises(DarkroomError, match="Supported values are") as caught:
        ask(size_fit="refuse", size=size)
    assert caught.value.param == "size"


def test_dall_e_3s_sizes_become_the_nearest_where_the_app_does_not_fit():
    request = ask(size_fit="refuse", size="1792x1024")
    assert (request.size, request.derives) == ("1536x1024", False)


@pytest.mark.parametrize("size", ["15x1024", "1024x15", "4097x1024", "1024x99999"])
def test_a_size_beyond_all_bounds_is_refused_by_name(size: str):
    with pytest.raises(DarkroomError, match="16 to 4096 pixels") as caught:
        ask(size=size)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "size")


@pytest.mark.parametrize("size", ["0x100", "100", "100X100", "-5x10", " 512x512", "512 x 512"])
def test_what_is_no_size_is_refused_as_ever(size: str):
    with pytest.raises(DarkroomError, match="Supported values are") as caught:
        ask(size=size)
    assert caught.value.param == "size"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (16, 16), (640, 480)])
def test_a_size_that_is_no_text_is_refused_by_its_type(width: int, height: int):
    with pytest.raises(DarkroomError) as caught:
        ask(size=[width, height])
    assert (caught.value.code, caught.value.param) == ("invalid_type", "size")


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"stream": True}, "stream"), ({"stream": True, "partial_images": 2}, "stream")],
)
def test_a_derived_image_is_not_streamed(fields: dict[str, Any], param: str):
    for request in (lambda: ask(size="512x512", **fields), lambda: preserving(**fields)):
        with pytest.raises(DarkroomError) as caught:
            request()
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


# -- preserve ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "source", "made"),
    [
        ("main", (1024, 1024), "1024x1024"),
        ("main", (640, 640), "1024x1024"),
        ("main", (3000, 2000), "1536x1024"),
        ("main", (1000, 1515), "1024x1536"),
        ("two", (1600, 1200), "1600x1200"),
        ("two", (4000, 3000), "3312x2496"),
    ],
)
def test_a_request_that_preserves_asks_for_the_shape_of_its_first_source(
    model: str, source: tuple[int, int], made: str
):
    request = settled(*source, model=model)
    assert request.size == made
    assert fitting.same_shape(source, size_of(request.size) or (0, 0))
    own = f"{source[0]}x{source[1]}"
    assert request.fitted_size == own
    assert request.adapted == ({"field": "size", "from": own, "to": request.size, "how": "preserve"},)


@pytest.mark.parametrize("size", [None, "auto", "1024x1024", "700x700"])
def test_the_size_may_be_left_out_or_be_the_models_or_the_sources(size: str | None):
    request = settled(700, 700, **({} if size is None else {"size": size}))
    assert (request.size, request.fitted_size) == ("1024x1024", "700x700")


@pytest.mark.parametrize("size", ["800x800", "256x256"])
def test_another_size_than_the_first_sources_is_refused(size: str):
    with pytest.raises(DarkroomError, match="700x700") as caught:
        settled(700, 700, size=size)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "size")


@pytest.mark.parametrize(
    ("source", "fields"), [((1600, 1200), {}), ((1024, 1024), {"size": "1536x1024"}), ((5000, 100), {"model": "two"})]
)
def test_a_source_of_a_shape_that_the_model_does_not_make_is_refused_with_the_fix(
    source: tuple[int, int], fields: dict[str, Any]
):
    with pytest.raises(DarkroomError, match="Crop or pad") as caught:
        settled(*source, **fields)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "preserve")


def test_a_source_of_too_many_pixels_is_refused():
    with pytest.raises(DarkroomError) as caught:
        settled(4097, 4096)
    assert (caught.value.code, caught.value.param) == ("image_too_large", "images[0]")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"preserve": "roughly"}, "invalid_value", "preserve"),
        ({"preserve": True}, "invalid_type", "preserve"),
        ({"mask": None}, "invalid_value", "preserve"),
        ({"output_format": "jpeg"}, "invalid_value", "output_format"),
    ],
)
def test_what_cannot_preserve_is_refused_by_name(fields: dict[str, Any], code: str, param: str):
    with pytest.raises(DarkroomError) as caught:
        preserving(**fields)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_generation_has_nothing_to_preserve():
    with pytest.raises(DarkroomError) as caught:
        ask(preserve="exact")
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "preserve")


def test_boxes_may_say_what_is_not_preserved():
    boxes = [{"x": 0, "y": 0, "width": 8, "height": 8}]
    assert preserving(mask=None, boxes=boxes).derives


def test_what_is_derived_tells_requests_apart_and_survives_storage():
    plain = ask(size="1024x1024")
    fitted = ask(size="512x512")
    other = ask(size_fit="cover", size="512x512")
    hashes = {one.canonical_hash() for one in (plain, fitted, other)}
    assert len(hashes) == 3
    assert ImageRequest.from_dict(fitted.to_dict()) == fitted
    assert fitted.public_dict()["fitted_size"] == "512x512"
    assert "fit" not in plain.public_dict()


def _difference(one: tuple[int, int], size: str) -> float:
    other = size_of(size)
    assert other is not None
    return abs(math.log(one[0] / one[1] / (other[0] / other[1])))
