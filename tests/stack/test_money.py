"""Money before and after a request, asked of the running app over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx

from tests.support.requests import run


async def test_what_was_estimated_shows_in_the_usage_once_the_job_has_run(app_client: httpx.AsyncClient) -> None:
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()

    async def used() -> dict[str, Any]:
        answer = await app_client.get("/api/usage", params={"from": yesterday, "group_by": "deployment"})
        assert answer.status_code == 200, answer.text
        total: dict[str, Any] = answer.json()["total"]
        return total

    def amount(total: dict[str, Any]) -> Decimal:
        return sum((Decimal(cost["amount"]) for cost in total["costs"]), Decimal())

    request = {"prompt": "a lighthouse", "quality": "low"}
    before = await used()
    told = await app_client.post("/api/estimates", json=request)
    job = await run(app_client, **request)
    after = await used()

    assert told.status_code == 200, told.text
    cost = told.json()["cost"]
    assert job["status"] == "succeeded"
    assert Decimal(cost["low"]) <= Decimal(job["cost"]["amount"]) <= Decimal(cost["high"])
    # At least: what other tests left running may end meanwhile.
    assert amount(after) - amount(before) >= Decimal(job["cost"]["amount"])
    assert after["images"] - before["images"] >= 1


async def test_money_is_told_to_nobody_without_the_key(app_client: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/api/estimates"), ("GET", "/api/usage")):
        answer = await app_client.request(method, path, headers={"x-functions-key": "wrong"})
        assert answer.status_code == 401
