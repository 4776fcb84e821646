"""Boxes: what is taken, what is refused and how, and that the mask drawn from them is exactly their union."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from base64 import b64encode
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import DarkroomError
from shared.images.boxes import MAX_BOXES, Box, draw, parse_boxes
from shared.images.form import parse_form
from shared.images.masks import check_mask
from shared.images.pixels import ImageHeader, inspect
from shared.images.request import ImageRequest, parse
from shared.images.sources import Source
from tests.unit.images.outcomes import outcome

DATA = b64encode(b"not looked at here").decode()
BOX = {"x": 10, "y": 20, "width": 30, "height": 40}
HALF = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}


def ask(**fields: Any) -> ImageRequest:
    return parse({"prompt": "a heron", **fields}, kind=None, deployments={"main": "gpt-image-1"})


def refusal(boxes: Any, **fields: Any) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        ask(boxes=boxes, **{"image": DATA, **fields})
    assert caught.value.status == 400
    return caught.value


def misplaced(box: dict[str, float], width: int, height: int) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        draw(parse_boxes([box]), width, height)
    assert (caught.value.status, caught.value.code) == (400, "invalid_value")
    return caught.value


def alpha(content: bytes) -> Image.Image:
    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        assert image.mode == "RGBA"
        return image.getchannel("A")


def hole(content: bytes) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is transparent."""
    return alpha(content).point([255] + [0] * 255).getbbox()


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_request_with_boxes_is_an_edit_and_keeps_them():
    request = ask(image=DATA, boxes=[BOX, HALF])
    assert (request.kind, request.boxes) == ("edit", (Box(10, 20, 30, 40), Box(0.25, 0.25, 0.5, 0.5)))
    assert [box.in_fractions for box in request.boxes] == [False, True]


@pytest.mark.parametrize(
    ("box", "in_fractions"),
    [
        ({"x": 0, "y": 0, "width": 1, "height": 1}, True),
        ({"x": 0, "y": 0, "width": 1, "height": 2}, False),
        ({"x": 0.0, "y": 5.0, "width": 2.0, "height": 1e2}, False),
        ({"x": 0, "y": 0.5, "width": 1, "height": 0.5}, True),
    ],
)
def test_a_box_is_in_fractions_when_all_four_numbers_are_at_most_one(box: dict[str, float], in_fractions: bool):
    (read,) = parse_boxes([box])
    assert read.in_fractions == in_fractions


@pytest.mark.parametrize(
    ("boxes", "code", "param"),
    [
        (BOX, "invalid_type", "boxes"),
        ("[]", "invalid_type", "boxes"),
        ([], "invalid_value", "boxes"),
        ([BOX] * (MAX_BOXES + 1), "invalid_value", "boxes"),
        ([BOX, [10, 20, 30, 40]], "invalid_type", "boxes[1]"),
        ([{**BOX, "foo": 1}], "unknown_parameter", "boxes[0].foo"),
        ([BOX, {"x": 1, "y": 1, "width": 5}], "missing_required_parameter", "boxes[1].height"),
        ([{**BOX, "y": None}], "missing_required_parameter", "boxes[0].y"),
        ([{**BOX, "x": "10"}], "invalid_type", "boxes[0].x"),
        ([{**BOX, "x": True}], "invalid_type", "boxes[0].x"),
        ([{**BOX, "x": float("nan")}], "invalid_value", "boxes[0].x"),
        ([{**BOX, "width": float("inf")}], "invalid_value", "boxes[0].width"),
        ([{**BOX, "x": -1}], "invalid_value", "boxes[0].x"),
        ([{**HALF, "y": -0.1}], "invalid_value", "boxes[0].y"),
        ([{**BOX, "x": 10.5}], "invalid_value", "boxes[0].x"),
        ([{**BOX, "width": 0}], "invalid_value", "boxes[0].width"),
        ([{**HALF, "height": 0.0}], "invalid_value", "boxes[0].height"),
        ([{**HALF, "x": 1}], "invalid_value", "boxes[0].x"),
        ([{**HALF, "y": 0.502}], "invalid_value", "boxes[0].height"),
    ],
)
def test_what_is_no_list_of_boxes_is_refused_by_name(boxes: Any, code: str, param: str):
    error = refusal(boxes)
    assert (error.code, error.param) == (code, param)


def test_a_mask_and_boxes_together_are_refused():
    assert refusal([BOX], mask=DATA).param == "boxes"
    with pytest.raises(DarkroomError) as caught:
        parse(
            {"prompt": "a heron", "image": DATA, "boxes": [BOX]},
            kind="edit",
            deployments={"main": "gpt-image-1"},
            mask=Source(stored="mask"),
        )
    assert caught.value.param == "boxes"


def test_boxes_belong_to_an_edit_with_an_image():
    with pytest.raises(DarkroomError) as caught:
        ask(boxes=[BOX])
    assert caught.value.param == "image"
    with pytest.raises(DarkroomError) as caught:
        ask(boxes=[BOX], kind="generate")
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "boxes")


def test_a_form_has_boxes_as_json_text():
    form = parse_form([("prompt", "a heron"), ("image", DATA), ("boxes", json.dumps([BOX]))])
    assert ask(**form) == ask(image=[DATA], boxes=[BOX])


# -- the request around them -------------------------------------------------------------------------------------------


def test_boxes_survive_the_stored_request():
    request = ask(image=DATA, boxes=[BOX, HALF])
    again = ImageRequest.from_dict(json.loads(json.dumps(request.to_dict())))
    assert again == request
    assert [box.in_fractions for box in again.boxes] == [False, True]


def test_a_request_stored_before_there_were_boxes_can_be_read():
    stored = ask(image=DATA).to_dict()
    del stored["boxes"]
    assert ImageRequest.from_dict(stored) == ask(image=DATA)


def test_the_public_form_shows_boxes_and_the_mask_drawn_from_them():
    request = ask(image=DATA, boxes=[BOX])
    drawn = request.with_sources(request.images, Source(stored="mask"))
    public = drawn.public_dict(["requests/j/source-0"], "requests/j/mask")
    assert (public["boxes"], public["mask"]) == ([BOX], {"blob": "requests/j/mask"})
    assert "boxes" not in ask(image=DATA).public_dict()


def test_the_same_boxes_hash_alike_however_their_mask_was_drawn():
    request = ask(image=DATA, boxes=[BOX])
    drawn = request.with_sources(request.images, Source(stored="mask"))
    assert drawn.canonical_hash([], "ab" * 32) == drawn.canonical_hash([], "cd" * 32) == request.canonical_hash()
    alike = [{"x": 10.0, "y": 20.0, "width": 3e1, "height": 40.0}]
    assert ask(image=DATA, boxes=alike).canonical_hash() == request.canonical_hash()
    others = [[HALF], [BOX, BOX], [{**BOX, "width": 31}], None]
    assert len({ask(image=DATA, boxes=boxes).canonical_hash() for boxes in others} | {request.canonical_hash()}) == 5


def test_numbers_that_are_equal_hash_alike_in_fractions_too():
    written = [{"x": 0, "y": -0.0, "width": 1, "height": 0.5}]
    alike = [{"x": 0.0, "y": 0, "width": 1.0, "height": 5e-1}]
    assert ask(image=DATA, boxes=written).canonical_hash() == ask(image=DATA, boxes=alike).canonical_hash()


# -- the mask ----------------------------------------------------------------------------------------------------------


def test_pixels_are_taken_as_they_are():
    assert hole(draw(parse_boxes([BOX]), 100, 80)) == (10, 20, 40, 60)


def test_a_box_may_end_at_the_edge_of_the_image():
    assert hole(draw(parse_boxes([BOX]), 40, 60)) == (10, 20, 40, 60)


def test_fractions_are_of_the_image_and_rounded_to_pixels():
    assert hole(draw(parse_boxes([HALF]), 100, 80)) == (25, 20, 75, 60)
    thirds = {"x": 0.333, "y": 0.667, "width": 0.334, "height": 0.334}
    assert hole(draw(parse_boxes([thirds]), 300, 300)) == (100, 200, 200, 300)


def test_boxes_in_fractions_that_adjoin_leave_no_gap():
    edges = [0.1, 0.2, 0.3, 0.7]
    boxes = [{"x": left, "y": 0, "width": right - left, "height": 1} for left, right in itertools.pairwise(edges)]
    assert alpha(draw(parse_boxes(boxes), 1024, 3)).histogram()[0] == 3 * (round(0.7 * 1024) - round(0.1 * 1024))


def test_the_smallest_fraction_is_still_one_pixel():
    speck = {"x": 0.9999, "y": 0.5, "width": 0.00001, "height": 0.00001}
    assert hole(draw(parse_boxes([speck]), 100, 80)) == (99, 40, 100, 41)


@pytest.mark.parametrize(
    ("box", "param"),
    [
        ({**BOX, "x": 100}, "boxes[0].x"),
        ({**BOX, "y": 500}, "boxes[0].y"),
        ({**BOX, "width": 91}, "boxes[0].width"),
        ({**BOX, "height": 61}, "boxes[0].height"),
        ({**BOX, "height": 1e300}, "boxes[0].height"),
        ({**BOX, "x": 10**400}, "boxes[0].x"),
    ],
)
def test_pixels_outside_the_image_are_refused_with_its_size(box: dict[str, float], param: str):
    error = misplaced(box, 100, 80)
    assert error.param == param
    assert "100x80" in error.message


def test_only_the_box_at_fault_is_named():
    with pytest.raises(DarkroomError) as caught:
        draw(parse_boxes([BOX, HALF, {**BOX, "x": 99}]), 100, 80)
    assert caught.value.param == "boxes[2].width"


def test_a_drawn_mask_is_fit_for_its_image():
    stream = BytesIO(draw(parse_boxes([BOX]), 300, 200))
    assert check_mask(stream, ImageHeader("jpeg", "image/jpeg", 300, 200)).has_alpha


@pytest.mark.parametrize(("width", "height"), [(8_660, 8_660), (1_000_000, 75), (75, 1_000_000)])
def test_the_mask_of_the_largest_image_is_small_and_takes_little_memory(width: int, height: int):
    tracemalloc.start()
    try:
        content = draw(parse_boxes([HALF, {"x": 0, "y": 0, "width": 7, "height": 7}]), width, height)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    header = inspect(BytesIO(content))
    assert (header.width, header.height, header.has_alpha) == (width, height, True)
    assert len(content) < 4_000_000  # the least that any specification gives a mask
    assert peak < 8 * 2**20


@st.composite
def images_with_boxes(draw_from: st.DrawFn) -> tuple[int, int, list[tuple[int, int, int, int]]]:
    width, height = draw_from(st.integers(3, 90)), draw_from(st.integers(3, 90))
    boxes = []
    for _ in range(draw_from(st.integers(1, 8))):
        left, top = draw_from(st.integers(0, width - 2)), draw_from(st.integers(0, height - 2))
        # At least two pixels wide: `width` 1 with everything else within 0 and 1 would be fractions.
        boxes.append((left, top, draw_from(st.integers(left + 2, width)), draw_from(st.integers(top + 1, height))))
    return width, height, boxes


@given(images_with_boxes())
def test_a_mask_is_clear_exactly_inside_the_union_of_its_boxes(given_boxes: tuple[int, int, list[Any]]):
    width, height, boxes = given_boxes
    written = [{"x": a, "y": b, "width": c - a, "height": d - b} for a, b, c, d in boxes]
    expected = Image.new("L", (width, height), 255)
    for left, top, right, bottom in boxes:
        expected.paste(0, (left, top, right, bottom))
    assert alpha(draw(parse_boxes(written), width, height)).tobytes() == expected.tobytes()


@given(images_with_boxes())
def test_fractions_of_pixel_edges_are_those_pixels(given_boxes: tuple[int, int, list[Any]]):
    width, height, boxes = given_boxes
    parts = [
        {"x": a / width, "y": b / height, "width": (c - a) / width, "height": (d - b) / height} for a, b, c, d in boxes
    ]
    pixels = [{"x": a, "y": b, "width": c - a, "height": d - b} for a, b, c, d in boxes]
    assert draw(parse_boxes(parts), width, height) == draw(parse_boxes(pixels), width, height)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*BOX, "z"]), inner, max_size=5),
    max_leaves=8,
)
NUMBERS = st.integers(-2, 40) | st.floats(-0.5, 1.5) | st.sampled_from([0, 1, 0.5, 1e18, 10**30])


@given(JSON | st.lists(st.fixed_dictionaries(dict.fromkeys(BOX, NUMBERS)), max_size=3))
def test_any_json_is_either_a_mask_or_a_refusal_that_names_a_box(value: Any):
    result = outcome(lambda: draw(parse_boxes(value), 30, 20))
    if isinstance(result, DarkroomError):
        assert (result.param or "").startswith("boxes")
    else:
        assert alpha(result).size == (30, 20)
