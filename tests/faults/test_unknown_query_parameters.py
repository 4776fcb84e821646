"""Query parameters that a route does not know: refused by name under `/api`, passed over where other programs' clients
and probes put their own."""

from __future__ import annotations

import json

import pytest

from tests.support.app_in_process import App
from tests.support.doors import call
from tests.support.routes import routes

LENIENT = {"get_health", "get_openapi"}
BODY = b'{"prompt": "a lighthouse", "quality": "low"}'
JSON = {"content-type": "application/json"}


ROUTES = {route.name: route.function for route in routes()}


async def test_under_api_they_are_refused_by_name_before_anything_is_stored(app: App) -> None:
    asked = [route for route in routes() if route.path.startswith("api/") and route.name not in LENIENT]
    params = {"id": "0" * 26, "job": "0" * 26, "index": "0"}
    query = {"code": "a key", "sise": "1"}
    for route in asked:
        answer = await call(route.function, BODY, method=route.method, headers=JSON, path_params=params, query=query)
        error = json.loads(bytes(answer.body))["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "unknown_parameter", "sise"), route.name

    assert asked
    assert (app.storage.rows("jobs"), app.storage.blobs("requests")) == ([], [])


@pytest.mark.parametrize("name", sorted(LENIENT))
async def test_probes_may_add_what_they_like(app: App, name: str) -> None:
    assert (await call(ROUTES[name], method="GET", query={"at": "1790000000"})).status_code == 200


async def test_the_images_api_passes_them_over(app: App) -> None:
    query = {"api-version": "2025-04-01-preview", "subscription-key": "a gateway's"}
    answer = await call(ROUTES["image_generations_v1"], BODY, headers=JSON, query=query)

    assert answer.status_code == 200
    assert len(app.model.calls()) == 1


async def test_one_that_is_given_twice_is_refused_too(app: App) -> None:
    job = await app.run()
    query = [("purge", "false"), ("purge", "true")]
    answer = await call(ROUTES["cancel_job"], method="DELETE", path_params={"id": job.id}, query=query)

    assert (answer.status_code, json.loads(bytes(answer.body))["error"]["param"]) == (400, "purge")
    assert app.storage.requests_of(job.id), "nothing was purged"
