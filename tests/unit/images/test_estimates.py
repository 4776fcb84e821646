"""What a request would cost: ranges that hold what the tables know, and None, never 0, for what is not published."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images.capabilities import capabilities, known_models, size_of
from shared.images.estimates import WRAPPING_TOKENS, Range, assumptions, cost_of, tokens_of
from shared.images.prices import published
from shared.images.pricing import cost
from shared.images.request import ImageRequest
from shared.images.sources import Source
from shared.images.tokens import input_image_token_bounds, input_image_tokens, output_tokens, text_tokens

REQUEST = ImageRequest("generate", "a heron in the reeds", "main")
SOURCE = Source(stored="source-0")
EDIT = replace(REQUEST, kind="edit", images=(SOURCE, SOURCE), input_fidelity="high")
TILED = ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5")


def test_what_is_expected_is_a_usage_that_can_be_priced() -> None:
    usage = tokens_of(replace(REQUEST, n=2), "gpt-image-1").usage()
    priced = cost(usage, "gpt-image-1", published())

    assert usage is not None
    assert priced is not None
    assert usage["output_tokens"] == 2 * 4_160
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert priced.amount > Decimal("0.3328")


def test_partial_images_cost_a_hundred_tokens_each_and_may_not_come() -> None:
    request = replace(REQUEST, quality="low", stream=True, partial_images=3, n=2)

    assert tokens_of(request, "gpt-image-1").output == Range(2 * 272, 2 * (272 + 300), 2 * (272 + 300))


def test_auto_counts_as_the_dearest_and_is_not_under_the_cheapest() -> None:
    assert tokens_of(replace(REQUEST, size="auto", quality="auto"), "gpt-image-1").output == Range(272, 6_240, 6_240)
    assert tokens_of(replace(REQUEST, size="auto"), "gpt-image-1").output == Range(4_160, 6_240, 6_240)
    assert tokens_of(replace(REQUEST, quality="auto"), "gpt-image-1").output == Range(272, 4_160, 4_160)


def test_an_edit_counts_its_sources() -> None:
    images = 194 + 4_160 + 323 + 6_240

    assert tokens_of(EDIT, "gpt-image-1", [(1024, 1024), (1024, 1536)]).images == Range(images, images, images)


@pytest.mark.parametrize("sizes", [[], [None], [None, None]])
def test_a_source_nobody_looked_at_counts_as_the_largest(sizes: list[None]) -> None:
    low, high = 2 * (194 + 4_160), 2 * (581 + 6_240)

    assert tokens_of(EDIT, "gpt-image-1", sizes).images == Range(low, high, high)
    mixed = tokens_of(EDIT, "gpt-image-1", [(1024, 1024)]).images
    assert mixed == Range(2 * (194 + 4_160), 194 + 4_160 + 581 + 6_240, 194 + 4_160 + 581 + 6_240)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from(TILED), st.booleans())
def test_no_image_takes_more_or_less_than_one_whose_size_is_not_known(
    width: int, height: int, model: str, fidelity: bool
) -> None:
    bounds = input_image_token_bounds(model, high_fidelity=fidelity)
    tokens = input_image_tokens(model, width, height, high_fidelity=fidelity)

    assert bounds is not None
    assert tokens is not None
    assert bounds[0] <= tokens <= bounds[1]


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        (replace(REQUEST, size="auto"), "gpt-image-2"),  # what a model of free sizes picks for itself
        (replace(REQUEST, quality="max"), "gpt-image-2.5-flare"),
        (REQUEST, "picture-9"),
        (replace(EDIT, input_fidelity=None), "gpt-image-2"),
    ],
)
def test_what_is_published_nowhere_is_not_known_and_only_the_rest_is_in_low(request_: ImageRequest, model: str) -> None:
    tokens = tokens_of(request_, model, [(1024, 1024)] * len(request_.images))
    found = cost_of(tokens, model, published())

    assert tokens.usage() is None
    assert (found.amount, found.high) == (None, None)
    assert (found.low > 0) == (model != "picture-9")
    assert any("not published: they are not in the estimate" in sentence for sentence in assumptions(request_, model))


def test_a_free_size_of_gpt_image_2_is_known() -> None:
    assert tokens_of(replace(REQUEST, size="1792x1024"), "gpt-image-2").output.expected == 5_063


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        # Counted with o200k_base.
        ("a red door", 3),
        ("Replace the sky with a dramatic sunset and keep everything else unchanged.", 13),
        ("Ein Leuchtturm auf einer Klippe in der Abenddämmerung, lange Belichtung, warmes Licht in den Fenstern.", 28),
        ("黄昏时分悬崖上的灯塔，长曝光，窗户里透出温暖的灯光，海鸥盘旋。", 33),
        ("Маяк на скале в сумерках, длинная выдержка, тёплый свет в окнах, кружат чайки.", 30),
        ("शाम के समय चट्टान पर एक प्रकाशस्तंभ, खिड़कियों में गर्म रोशनी, समुद्री पक्षी मंडरा रहे हैं।", 33),
        ("🎨🖼️✨🌅👩‍👩‍👧‍👦🦊🐉🇺🇦💥", 31),
        ("a" + " " * 200 + "b" + "\n" * 50 + "c", 9),
        ("a" * 500, 63),
    ],
)
def test_the_tokens_of_a_prompt_lie_within_their_bounds(prompt: str, tokens: int) -> None:
    text = tokens_of(replace(REQUEST, prompt=prompt), "gpt-image-1").text

    assert text.low <= tokens
    assert text.high is not None
    assert tokens + WRAPPING_TOKENS <= text.high


@given(st.text(min_size=1).filter(str.strip))
def test_a_prompt_is_expected_within_its_bounds(prompt: str) -> None:
    text = tokens_of(replace(REQUEST, prompt=prompt), "gpt-image-1").text

    assert text.expected == text_tokens(prompt)
    assert text.high is not None
    assert 1 <= text.low <= text.expected <= text.high


REQUESTS = st.builds(
    replace,
    st.sampled_from([REQUEST, EDIT, replace(EDIT, input_fidelity=None)]),
    n=st.integers(1, 10),
    prompt=st.text(min_size=1, max_size=50).filter(str.strip),
    size=st.sampled_from(["auto", "1024x1024", "1024x1536", "1536x1024"]),
    quality=st.sampled_from(["auto", "low", "medium", "high"]),
    partial_images=st.integers(0, 3),
)


@given(REQUESTS, st.sampled_from([*known_models(), "picture-9"]), st.lists(st.just((640, 480)), max_size=1))
def test_what_a_request_costs_lies_between_low_and_high(request_: ImageRequest, model: str, sizes: list[Any]) -> None:
    tokens = tokens_of(request_, model, sizes)
    found = cost_of(tokens, model, published())
    usage = tokens.usage()
    priced = cost(usage, model, published())

    assert (found.amount is None) == (found.high is None)
    assert found.amount == (priced.amount if priced else None)
    if found.amount is not None and found.high is not None:
        assert 0 < found.low <= found.amount <= found.high


def test_what_the_model_chooses_lies_in_the_range() -> None:
    for model in TILED:
        row = capabilities(model)
        output = tokens_of(replace(REQUEST, size="auto", quality="auto", n=3), model).output
        for size in filter(None, map(size_of, row.sizes)):
            for quality in row.qualities:
                tokens = output_tokens(model, *size, quality)
                assert tokens is None or output.low <= 3 * tokens <= (output.high or 0)


def test_the_assumptions_say_what_was_assumed_and_nothing_else() -> None:
    def said(request: ImageRequest, sizes: list[Any] | None = None) -> str:
        return " ".join(assumptions(request, "gpt-image-1", sizes or []))

    assert "auto" not in said(REQUEST)
    assert "'auto'" in said(replace(REQUEST, quality="auto"))
    assert "size of a source" in said(EDIT, [(1, 1)])
    assert "size of a source" not in said(EDIT, [(1, 1), (1, 1)])
    assert "mask" not in said(EDIT)
    assert "mask" in said(replace(EDIT, mask=SOURCE))
