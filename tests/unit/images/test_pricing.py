"""Tokens and money, against the published tables and reported bills; what is not known is None and never 0."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images.capabilities import known_models
from shared.images.prices import published
from shared.images.pricing import Cost, cost
from shared.images.tokens import input_image_tokens, output_tokens

PRICES = published()


def usage_of(output: int, text: int = 0, image: int = 0) -> dict[str, Any]:
    return {
        "input_tokens": text + image,
        "output_tokens": output,
        "total_tokens": text + image + output,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
    }


def amount(usage: dict[str, Any] | None, model: str = "gpt-image-1") -> Decimal:
    priced = cost(usage, model, PRICES)
    assert priced is not None
    assert priced.currency == "USD"
    return priced.amount


PUBLISHED = [
    *(
        ("low", size, tokens, price)
        for size, tokens, price in zip(
            ("1024x1024", "1024x1536", "1536x1024"), (272, 408, 400), (".0109", ".0163", ".0160"), strict=True
        )
    ),
    *(
        ("medium", size, tokens, price)
        for size, tokens, price in zip(
            ("1024x1024", "1024x1536", "1536x1024"), (1_056, 1_584, 1_568), (".0422", ".0634", ".0627"), strict=True
        )
    ),
    *(
        ("high", size, tokens, price)
        for size, tokens, price in zip(
            ("1024x1024", "1024x1536", "1536x1024"), (4_160, 6_240, 6_208), (".1664", ".2496", ".2483"), strict=True
        )
    ),
]


@pytest.mark.parametrize(("quality", "size", "tokens", "price"), PUBLISHED)
def test_an_image_costs_what_the_published_table_says(quality: str, size: str, tokens: int, price: str):
    width, height = map(int, size.split("x"))
    assert output_tokens("gpt-image-1", width, height, quality) == tokens
    assert amount(usage_of(tokens)).quantize(Decimal("0.0001")) == Decimal(price)


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 1024, 194),
        (1024, 1536, 323),
        (1920, 1080, 323),
        (1024, 1025, 194),  # scaled edges are rounded down
        (512, 513, 323),  # and an unscaled one is not
        (512, 512, 194),
        (1, 1, 194),
        (4096, 4096, 194),
        (4096, 1, 581),
    ],
)
def test_an_input_image_takes_the_tokens_that_were_billed(width: int, height: int, tokens: int):
    assert input_image_tokens("gpt-image-1", width, height) == tokens
    assert input_image_tokens("gpt-image-1", height, width) == tokens


def test_high_fidelity_adds_by_shape():
    assert input_image_tokens("gpt-image-1", 1024, 1024, high_fidelity=True) == 194 + 4_160
    assert input_image_tokens("gpt-image-1", 1024, 1536, high_fidelity=True) == 323 + 6_240


@pytest.mark.parametrize(("size", "tokens"), [((1024, 1024), 7_024), ((1536, 1024), 5_488), ((1792, 1024), 5_063)])
def test_free_sizes_of_gpt_image_2_follow_its_calculator(size: tuple[int, int], tokens: int):
    assert output_tokens("gpt-image-2", *size, "high") == tokens
    assert output_tokens("gpt-image-2", *reversed(size), "high") == tokens


def test_counts_nobody_published_are_not_known():
    assert output_tokens("gpt-image-2.5-flare", 1024, 1024, "high") is None
    assert output_tokens("gpt-image-1", 1792, 1024, "high") is None
    assert output_tokens("picture-9", 1024, 1024, "high") is None
    assert input_image_tokens("gpt-image-2", 1024, 1024) is None


def test_a_real_edit_is_priced_by_its_breakdown():
    # 194 image and 25 text tokens in, 272 out: as one edit was reported (community.openai.com/t/1281361).
    assert amount(usage_of(272, text=25, image=194)) == Decimal("0.012945")


def test_output_without_a_breakdown_is_priced_as_image():
    # 23 text tokens in, 1056 out of gpt-image-1.5 (litellm#18541).
    assert amount(usage_of(1_056, text=23), "gpt-image-1.5") == Decimal("0.033907")


def test_text_output_has_its_own_price_where_the_model_has_one():
    usage = usage_of(1_000) | {"output_tokens_details": {"text_tokens": 1_000, "image_tokens": 0}}
    assert amount(usage, "gpt-image-1.5") == Decimal("0.01")
    assert amount(usage, "gpt-image-1") == Decimal("0.04")


def test_input_without_a_breakdown_is_priced_as_image():
    assert amount({"input_tokens": 1_000_000, "output_tokens": 0}) == Decimal(10)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": 1},
        {"input_tokens": "1", "output_tokens": 1},
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": True, "output_tokens": 1},
    ],
)
def test_a_usage_that_says_nothing_has_no_cost(usage: Any):
    assert cost(usage, "gpt-image-1", PRICES) is None


def test_an_unknown_model_has_no_cost_rather_than_none_at_all():
    assert cost(usage_of(1_000), "picture-9", PRICES) is None


def test_every_known_model_has_rates():
    assert set(PRICES.models) == set(known_models())
    assert cost(usage_of(10), "gpt-image-1-2025-04-15", PRICES) == cost(usage_of(10), "gpt-image-1", PRICES)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.sampled_from(known_models()))
def test_more_tokens_never_cost_less(output: int, text: int, image: int, model: str):
    assert 0 <= amount(usage_of(output, text, image), model) <= amount(usage_of(output + 1, text + 1, image + 1), model)


USAGE_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.dictionaries(
        st.sampled_from(["text_tokens", "image_tokens"]), st.none() | st.integers() | st.floats() | st.text(max_size=2)
    )
)
USAGE_NAMES = st.sampled_from(["input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"])


@given(st.dictionaries(USAGE_NAMES, USAGE_VALUES))
def test_any_usage_is_priced_or_not_known(usage: dict[str, Any]):
    priced = cost(usage, "gpt-image-1", PRICES)
    assert priced is None or priced.amount >= 0


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.1664", "0.1664"), ("0.1670", "0.167"), ("0", "0"), ("10", "10"), ("1E-7", "0.0000001"), ("1E+1", "10")],
)
def test_money_is_written_in_plain_notation(value: str, text: str):
    assert Cost(Decimal(value), "USD").to_dict() == {"amount": text, "currency": "USD"}
