"""A table of prices is read exactly as written, and a wrong one is refused by a sentence that says where."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.images import prices
from shared.images.prices import Rates, WrongPrices, parse, published

GOOD = {"text_input": "5", "image_input": "10", "image_output": "40"}


def table(**changes: Any) -> dict[str, Any]:
    return {"currency": "EUR", "models": {"gpt-image-1": GOOD}, **changes}


def rates(**changes: Any) -> dict[str, Any]:
    return table(models={"gpt-image-1": {**GOOD, **changes}})


def test_the_table_that_comes_with_the_app_is_one_an_operator_could_have_written() -> None:
    text = Path(prices.__file__).with_name("prices.json").read_text(encoding="utf-8")

    assert parse(text) == published()
    assert published().currency == "USD"
    assert published().rates("gpt-image-1.5") == Rates(Decimal(5), Decimal(8), Decimal(32), Decimal(10))


@pytest.mark.parametrize("text", ['"2.10"', "2.10", '"2.1"', '"21e-1"'])
def test_a_price_is_exact_as_text_and_as_a_number(text: str) -> None:
    found = parse(json.dumps(rates(text_input="x")).replace('"x"', text)).rates("gpt-image-1")

    assert found is not None
    assert found.text_input == Decimal("2.1")


@pytest.mark.parametrize("name", ["gpt-image-1", " GPT-Image-1", "gpt-image-1-2025-04-15"])
def test_a_model_is_found_with_and_without_the_date_of_its_version(name: str) -> None:
    assert parse(json.dumps(table())).rates(name) is not None


def test_a_version_may_have_prices_of_its_own() -> None:
    models = {"picture-9": GOOD, "Picture-9-2027-01-01": {**GOOD, "text_input": 6}}
    found = parse(json.dumps(table(models=models)))

    wanted = {"picture-9": 5, "picture-9-2027-01-01": 6, "picture-9-2028-01-01": 5}
    assert {name: rates.text_input for name in wanted if (rates := found.rates(name))} == wanted
    assert found.rates("gpt-image-1") is None, "the table stands for itself: nothing of the app's own is mixed in"


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ([], "JSON object"),
        (table(currency="eur"), "'currency'"),
        (table(currency=None), "'currency'"),
        (table(models={}), "'models'"),
        (table(models=[]), "'models'"),
        (table(models={"gpt-image-1": 5}), "'models.gpt-image-1'"),
        (table(prices={}), "'prices'"),
        (table(source=1), "'source'"),
        (rates(image_output=None), "'models.gpt-image-1.image_output'"),
        (rates(cached_input="1"), "'models.gpt-image-1.cached_input'"),
        *(
            (rates(text_input=wrong), "'models.gpt-image-1.text_input'")
            for wrong in ("", "free", "-1", "NaN", "Infinity", -1, True, [], 10**10, "1e-13", "1e-999999", "9" * 200)
        ),
    ],
)
def test_a_wrong_table_is_refused_by_the_place_that_is_wrong(data: Any, where: str) -> None:
    with pytest.raises(WrongPrices, match=where):
        parse(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"currency": Infinity}', "[" * 100_000, "9" * 5_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(WrongPrices, match="JSON"):
        parse(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
)


@given(JSON_VALUES | st.fixed_dictionaries({"currency": st.just("USD"), "models": JSON_VALUES}))
def test_any_json_is_a_table_or_refused(data: Any) -> None:
    try:
        found = parse(json.dumps(data))
    except WrongPrices:
        return
    assert found.models
