"""What is told of money: estimates before a request is sent, usage and cost after it."""

from __future__ import annotations

from shared.api.schema import Schema, given, listed, nullable, one_of, ref, string
from shared.images.request import KINDS
from shared.jobs.ledger import Outcome
from shared.pipeline.usage import GROUPINGS, MOST_GROUPS

MONEY = r"^[0-9]+(\.[0-9]+)?$"
CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
COUNT: Schema = {"type": "integer", "minimum": 0}
DAY: Schema = {"type": "string", "format": "date"}


def amount(description: str = "") -> Schema:
    """Decimal text."""
    return string(description, pattern=MONEY)


def components() -> dict[str, Schema]:
    """The schemas by name."""
    return {
        "Usage": _usage(),
        "Cost": _cost(),
        "EstimateRequest": {
            "description": "One request, or several: what `POST /api/jobs` and `POST /api/batches` take.",
            "anyOf": [ref("JobRequest"), ref("BatchRequest")],
        },
        "Estimate": _estimate(),
        "Estimates": _estimates(),
        "TokenRange": given(
            {"low": COUNT, "expected": nullable(COUNT), "high": nullable(COUNT)},
            description="`expected` is the estimate; null where it is published nowhere.",
        ),
        "CostRange": given(
            {
                "amount": nullable(amount("What is expected; null when it is not known.")),
                "currency": CURRENCY,
                "low": amount("Counts only what is known."),
                "high": nullable(amount()),
            }
        ),
        "UsageReport": _report(),
        "UsageSums": given(_sums()),
    }


def _usage() -> Schema:
    return {
        "type": "object",
        "additionalProperties": True,
        "description": "The service's own count.",
        "properties": dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), COUNT),
    }


def _cost() -> Schema:
    members = {
        "amount": nullable(amount("Null when it is not known.")),
        "currency": CURRENCY,
        "possibly_billed": nullable(amount("What calls of unknown outcome may have cost; null when it is not known.")),
    }
    return given(members)


def _estimate() -> Schema:
    request = {"kind": one_of(KINDS), "n": COUNT, "size": string(), "quality": string(), "images": COUNT}
    rates: Schema = {"type": "object", "additionalProperties": nullable(amount())}
    prices = {"source": nullable(string()), "currency": CURRENCY, "per_million_tokens": nullable(rates)}
    members = {
        "model": string(),
        "deployment": string(),
        "request": given(request, description="What the estimate is for, as it was understood."),
        "adapted": listed(ref("Adapted")),
        "tokens": given(dict.fromkeys(("input_text", "input_images", "output"), ref("TokenRange"))),
        "cost": ref("CostRange"),
        "basis": given({"prices": given(prices), "assumptions": listed(string())}),
    }
    return given(members)


def _estimates() -> Schema:
    members = {"requests": listed(ref("Estimate"), 1), "cost": ref("CostRange"), "unpriced_requests": COUNT}
    return given(members, description="An estimate for each request, and their sum.")


def _sums() -> dict[str, Schema]:
    cost = {"currency": CURRENCY, "amount": amount(), "possibly_billed": amount()}
    return {
        "calls": given(dict.fromkeys(map(str, Outcome), COUNT), description="Calls of the model by their outcome."),
        "images": COUNT,
        "usage": given(dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), COUNT)),
        "costs": listed(given(cost), description="One for each currency."),
        "unpriced_calls": COUNT,
    }


def _report() -> Schema:
    members = {
        "from": DAY,
        "to": DAY,
        "kept_from": nullable({**DAY, "description": "The first day whose calls are all kept."}),
        "total": ref("UsageSums"),
        "group_by": nullable(one_of(GROUPINGS)),
        "groups": listed(given({"key": nullable(string()), **_sums()}), most=MOST_GROUPS),
    }
    return given(members)
