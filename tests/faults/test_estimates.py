"""What an estimate says against what the model server then bills, and that estimating does nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from functions import money
from shared.pipeline import health, prices
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.pictures import jpeg, png

Configure = Callable[..., None]
PROMPT = 'A harbour at dusk; a sign reads "Hello", 37 gulls'
EUROS = {
    "currency": "EUR",
    "source": "our contract",
    "models": {"gpt-image-1": {"text_input": 4, "image_input": "8.5", "image_output": "33.20"}},
}


def data_of(image: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(image).decode()}


async def ask(body: Any) -> tuple[int, Any]:
    answer = await call(money.estimate_cost, json.dumps(body).encode(), headers={"content-type": "application/json"})
    return answer.status_code, json.loads(bytes(answer.body))


async def estimate(**fields: Any) -> dict[str, Any]:
    status, body = await ask({"prompt": PROMPT, "quality": "low", **fields})
    assert status == 200, body
    return dict(body)


async def refusal(body: Any) -> Mapping[str, Any]:
    status, answer = await ask(body)
    assert status >= 400, answer
    error: Mapping[str, Any] = answer["error"]
    return error


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3, "quality": "medium", "size": "1536x1024"},
        {"quality": "high", "size": "1024x1536", "output_format": "jpeg"},
        {"prompt": "灯台 夕暮れ 🌅 " * 40},
        {"images": [data_of(png(64, 64))]},
        {"images": [data_of(png(600, 1100)), data_of(jpeg(513, 512))], "input_fidelity": "high", "n": 2},
    ],
)
async def test_the_tables_say_what_the_model_bills(app: App, fields: dict[str, Any]) -> None:
    told = await estimate(**fields)
    tokens, cost = told["tokens"], told["cost"]
    document = await app.document((await app.run(**{"prompt": PROMPT, **fields})).id)
    usage = document["usage"]

    assert document["status"] == "succeeded"
    for name in ("input_images", "output"):
        assert tokens[name]["low"] == tokens[name]["expected"] == tokens[name]["high"]
    assert tokens["output"]["expected"] == usage["output_tokens"]
    assert tokens["input_images"]["expected"] == usage["input_tokens_details"]["image_tokens"]
    text = tokens["input_text"]
    assert text["low"] <= usage["input_tokens_details"]["text_tokens"] <= text["high"]
    low, billed, high = (Decimal(amount) for amount in (cost["low"], document["cost"]["amount"], cost["high"]))
    assert low <= billed <= high
    assert low <= Decimal(cost["amount"]) <= high
    assert cost["currency"] == document["cost"]["currency"] == "USD"


async def test_each_partial_image_is_a_hundred_tokens_more_than_its_image(app: App) -> None:
    """At most: fewer of them may come, which is what low counts."""
    streamed = {"n": 2, "stream": True, "partial_images": 3}
    plain = (await estimate(n=2))["tokens"]["output"]
    told = await estimate(**streamed)
    document = await app.document((await app.run(prompt=PROMPT, **streamed)).id)

    output = told["tokens"]["output"]
    assert (output["low"], output["expected"], output["high"]) == (plain["low"], *[plain["expected"] + 600] * 2)
    assert document["usage"]["output_tokens"] == output["expected"]
    assert Decimal(told["cost"]["low"]) <= Decimal(document["cost"]["amount"]) <= Decimal(told["cost"]["high"])


@pytest.mark.parametrize("fields", [{"size": "auto", "quality": "auto"}, {"images": "a stored image"}])
async def test_what_is_not_known_before_lies_between_low_and_high(
    app: App, configure: Configure, fields: dict[str, Any]
) -> None:
    if "images" in fields:
        made = await app.document((await app.run()).id)
        fields = {"images": [{"blob": made["images"][0]["blob"]}]}
    told = await estimate(**fields)
    document = await app.document((await app.run(**{"prompt": PROMPT, **fields})).id)
    usage = document["usage"]

    for name, billed in (
        ("output", usage["output_tokens"]),
        ("input_images", usage["input_tokens_details"]["image_tokens"]),
    ):
        assert told["tokens"][name]["low"] <= billed <= told["tokens"][name]["high"]
    assert Decimal(told["cost"]["low"]) <= Decimal(document["cost"]["amount"]) <= Decimal(told["cost"]["high"])
    assert any("low" in sentence for sentence in told["basis"]["assumptions"][1:])


async def test_an_estimate_says_what_was_understood_and_what_it_rests_on(app: App) -> None:
    told = await estimate(quality="standard", size="1792x1024")

    assert (told["model"], told["deployment"]) == ("gpt-image-1", "gpt-image-1")
    assert told["request"] == {"kind": "generate", "n": 1, "size": "1536x1024", "quality": "medium", "images": 0}
    assert [change["field"] for change in told["adapted"]] == ["quality", "size"]
    assert told["basis"]["prices"]["per_million_tokens"] == {
        "text_input": "5",
        "image_input": "10",
        "image_output": "40",
    }
    assert "guess" in told["basis"]["assumptions"][0]


async def test_several_requests_are_added_up(app: App) -> None:
    requests = [{"prompt": "a", "quality": quality} for quality in ("low", "medium")]
    single = [(await ask(request))[1] for request in requests]
    by_array, by_object = [await ask(body) for body in (requests, {"requests": requests, "metadata": {"order": "1"}})]
    several = by_array[1]

    assert by_array == by_object
    assert several["requests"] == single
    for name in ("amount", "low", "high"):
        assert Decimal(several["cost"][name]) == sum(Decimal(one["cost"][name]) for one in single)
    assert several["unpriced_requests"] == 0


async def test_a_sum_with_an_unknown_part_is_not_known(model: Any, app: App, configure: Configure) -> None:
    configure([deployment(model.url), deployment(model.url, "new", model="gpt-image-2.5-flare")])
    _, several = await ask([{"prompt": "a", "quality": "low"}, {"prompt": "a", "model": "new"}])
    first, second = (one["cost"] for one in several["requests"])

    assert (second["amount"], second["high"]) == (None, None)
    assert several["cost"]["amount"] is several["cost"]["high"] is None
    assert Decimal(several["cost"]["low"]) == Decimal(first["low"]) + Decimal(second["low"])
    assert several["unpriced_requests"] == 1


async def test_nothing_is_stored_fetched_or_called(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url)], IMAGE_URL_HOSTS="images.example.com")
    before = [app.storage.rows(table) for table in ("jobs", "ledger", "pacing", "idempotency")]
    for source in (
        data_of(png()),
        {"blob": "results/2026/11/22/nobody/0.png"},
        {"url": "https://images.example.com/a.png?sig=x"},
    ):
        told = await estimate(images=[source], mask=source)
        assert "sig=" not in json.dumps(told)
    assert app.model.calls() == []
    assert app.storage.blobs("requests") == []
    assert [app.storage.rows(table) for table in ("jobs", "ledger", "pacing", "idempotency")] == before


GOOD = {"prompt": "a", "quality": "low"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ("text", "invalid_type", None),
        (None, "invalid_type", None),
        ({"prompt": "a", "size": "3x3"}, "invalid_value", "size"),
        ({"prompt": "a", "hue": 1}, "unknown_parameter", "hue"),
        ({"prompt": "a", "model": "nobody"}, "deployment_not_found", "model"),
        ({"prompt": "a", "images": [{"url": "https://evil.example/x"}]}, "source_not_readable", "images[0].url"),
        ({"prompt": "a", "images": [{"data": "aGVsbG8="}]}, "invalid_image", "images[0].data"),
        ({"prompt": "a", "images": [data_of(png()), data_of(png()[:-20])]}, "invalid_image", "images[1].data"),
        ({"prompt": "a", "callback_url": "https://evil.example/x"}, "unsupported_parameter", "callback_url"),
        ([], "invalid_value", "requests"),
        ([GOOD] * 1_001, "invalid_value", "requests"),
        ({"requests": 1}, "invalid_type", "requests"),
        ({"requests": [GOOD], "prompt": "a"}, "unknown_parameter", "prompt"),
        ([GOOD, {**GOOD, "n": 11}], "invalid_value", "requests[1].n"),
        ([GOOD, 7], "invalid_type", "requests[1]"),
    ],
)
async def test_what_the_doors_refuse_is_refused_here(app: App, body: Any, code: str, param: str | None) -> None:
    error = await refusal(body)

    assert (error["code"], error["param"]) == (code, param)


async def test_query_parameters_are_refused_by_name(app: App) -> None:
    answer = await call(money.estimate_cost, b"{}", query={"dry": "1"})

    assert json.loads(bytes(answer.body))["error"]["code"] == "unknown_parameter"


async def test_an_operators_prices_hold_for_estimates_bills_and_the_ledger(
    app: App, configure: Configure, tmp_path: Path
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(EUROS))
    configure([deployment(app.model.url)], TOKEN_PRICES=str(path))

    told = await estimate()
    document = await app.document((await app.run(prompt=PROMPT)).id)
    [row] = app.storage.ledger(document["id"])
    usage = document["usage"]
    exact = (usage["input_tokens"] * 4 + usage["output_tokens"] * Decimal("33.2")) / 1_000_000

    assert told["basis"]["prices"]["source"] == "our contract"
    assert told["cost"]["currency"] == document["cost"]["currency"] == row["currency"] == "EUR"
    assert Decimal(document["cost"]["amount"]) == Decimal(row["amount"]) == exact


async def test_what_may_have_been_billed_is_in_the_operators_currency_too(app: App, configure: Configure) -> None:
    configure([deployment(app.model.url)], TOKEN_PRICES=json.dumps(EUROS))
    app.model.fail({"cut_before_response": True})

    document = await app.document((await app.run()).id)
    [row] = app.storage.ledger(document["id"])

    assert (row["outcome"], row["currency"]) == ("unknown", "EUR")
    assert row["possibly_billed"] == document["cost"]["possibly_billed"]
    assert document["cost"]["currency"] == "EUR"


async def test_what_may_have_been_billed_is_not_told_as_nothing_where_it_is_not_known(
    app: App, configure: Configure
) -> None:
    """No table has the tokens of a source of gpt-image-2."""
    configure([deployment(app.model.url, model="gpt-image-2")], RETRY_UNKNOWN_OUTCOME="always")
    edit = {"images": [data_of(png(64, 64))], "kind": "edit"}
    app.model.fail({"cut_before_response": True})
    twice = await app.document((await app.run(**edit)).id)
    configure([deployment(app.model.url, model="gpt-image-2")], RETRY_UNKNOWN_OUTCOME="never")
    app.model.fail({"cut_before_response": True})
    never = await app.document((await app.run(**edit)).id)

    assert (twice["status"], never["error"]["code"]) == ("succeeded", "outcome_unknown")
    assert Decimal(twice["cost"]["amount"]) > 0
    assert never["cost"]["amount"] is None
    assert twice["cost"]["possibly_billed"] is never["cost"]["possibly_billed"] is None
    for job_id in (twice["id"], never["id"]):
        assert "possibly_billed" not in app.storage.ledger(job_id)[0]


async def test_wrong_prices_are_a_problem_of_the_health_page_and_the_apps_own_stand(
    app: App, configure: Configure, tmp_path: Path
) -> None:
    for wrong in (str(tmp_path / "nothing.json"), str(tmp_path), '{"currency": "EUR"}', "[]"):
        configure([deployment(app.model.url)], TOKEN_PRICES=wrong)
        problems = (await health.details())["problems"]
        [said] = [problem for problem in problems if "PRICES" in problem]
        assert said.startswith("TOKEN_PRICES ")
        assert str(tmp_path) not in said
        assert (await estimate())["cost"]["currency"] == "USD"


async def test_a_model_without_prices_is_a_problem_of_the_health_page(app: App, configure: Configure) -> None:
    table = {"currency": "EUR", "models": {"gpt-image-2": EUROS["models"]["gpt-image-1"]}}  # type: ignore[index]
    configure([deployment(app.model.url)], TOKEN_PRICES=json.dumps(table))

    assert [*prices.problems()] == [
        "There are no token prices for the model 'gpt-image-1': what its calls cost is not known."
    ]
    told = await estimate()
    assert (told["cost"]["amount"], told["basis"]["prices"]["per_million_tokens"]) == (None, None)
    assert "no prices" in told["basis"]["assumptions"][-1]


async def test_a_file_of_prices_may_not_be_any_size(app: App, configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(EUROS) + " " * 300_000)
    configure([deployment(app.model.url)], TOKEN_PRICES=str(path))

    assert "characters" in next(prices.problems())
