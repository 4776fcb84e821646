"""Verdict of 401, 403 (RBAC, network) and 404: the deployment is out until its configuration changes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from functions import images
from shared.pipeline import health
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.refusals import GOOD

Configure = Callable[..., None]
REFUSALS = [
    ("unauthorized", "401"),
    ("invalid_token", "401"),
    ("permission_denied", "PermissionDenied"),
    ("forbidden_network", "403"),
    ("deployment_not_found", "DeploymentNotFound"),
    ("resource_not_found", "404"),
]


@pytest.mark.parametrize(("name", "code"), REFUSALS)
async def test_the_other_deployment_serves_and_health_says_which_is_out(
    app: App, configure: Configure, name: str, code: str
) -> None:
    configure([deployment(app.model.url), deployment(app.model.url, "second", priority=1)])
    app.model.fail({"name": name})
    first, next_one = await app.run(), await app.run(prompt="the next one")
    assert (first.status, first.deployment, first.attempts) == ("succeeded", "second", 1)
    assert (next_one.status, next_one.deployment) == ("succeeded", "second")
    assert [call["deployment"] for call in app.model.calls()] == ["gpt-image-1", "second", "second"]
    assert app.storage.outcomes(first.id) == ["refused", "billed"]
    details = await health.details()
    assert details["status"] == "degraded"
    assert {entry["name"]: entry["out"] for entry in details["deployments"]} == {"gpt-image-1": code, "second": None}


async def test_when_none_is_left_jobs_fail_without_further_calls(app: App) -> None:
    app.model.fail({"name": "deployment_not_found"})
    first, next_one = await app.run(), await app.run(prompt="the next one")
    for job in (first, next_one):
        assert job.status == "failed"
        assert job.error is not None
        assert (job.error["code"], job.error["status"]) == ("deployment_unavailable", 503)
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(first.id) == ["refused"]
    assert app.storage.outcomes(next_one.id) == []


async def test_a_synchronous_request_is_refused_before_there_is_a_job(app: App) -> None:
    app.model.fail({"name": "permission_denied"})
    assert (await app.run()).status == "failed"
    jobs = len(app.storage.rows("jobs"))
    answer = await call(
        images.image_generations_v1, json.dumps(GOOD).encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 503
    assert json.loads(bytes(answer.body))["error"]["code"] == "deployment_unavailable"
    assert len(app.storage.rows("jobs")) == jobs
    assert len(app.model.calls()) == 1


async def test_a_changed_configuration_brings_a_deployment_back(app: App, configure: Configure) -> None:
    app.model.fail({"name": "resource_not_found"})
    assert (await app.run()).status == "failed"
    configure([deployment(app.model.url, api_version="v1")])
    job = await app.run()
    assert job.status == "succeeded"
    assert [call["surface"] for call in app.model.calls()] == ["dated", "v1"]
