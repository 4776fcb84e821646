"""How many instances the app may have, and what each takes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.infra.bicep_deployment import Deployment
from tests.infra.reference import INFRA, ROOT, bindings, deployed


def scale(**given: Any) -> dict[str, Any]:
    found = Deployment(INFRA / "main.bicep", {"environmentName": "demo", "location": "westeurope", **given}).run()
    shown: dict[str, Any] = found.one("Microsoft.Web/sites").at("properties.functionAppConfig.scaleAndConcurrency")
    return shown


def other_groups() -> int:
    """Functions that scale alone, but for the one that runs jobs; HTTP functions are one group."""
    return sum(found[0]["type"] != "httpTrigger" for found in bindings().values()) - 1


@pytest.mark.parametrize(
    ("given", "instances"),
    [
        ({}, 1 + 1),  # 6 a minute of a minute each: 6 calls in flight
        ({"modelRequestsPerMinute": 160}, 10 + 2),
        ({"modelRequestsPerMinute": 160, "modelLatencySeconds": 30}, 5 + 1),
        ({"modelRequestsPerMinute": 60, "modelRegions": "westus3,uaenorth,polandcentral"}, 12 + 3),
    ],
)
def test_instances_follow_from_the_quota_and_the_latency(given: dict[str, Any], instances: int) -> None:
    assert scale(**given)["maximumInstanceCount"] == instances + other_groups()


def test_the_number_of_instances_can_be_said_and_holds_those_kept_ready() -> None:
    assert scale(maximumInstanceCount=5)["maximumInstanceCount"] == 5
    assert scale(alwaysReadyHttp=30, alwaysReadyQueue=3)["maximumInstanceCount"] == 33


def test_http_requests_share_an_instance_and_ready_groups_are_named_as_the_scaler_names_them() -> None:
    found = scale(alwaysReadyHttp=2, alwaysReadyQueue=1)

    assert found["triggers"]["http"]["perInstanceConcurrency"] > 1
    assert found["alwaysReady"] == [
        {"name": "http", "instanceCount": 2},
        {"name": "function:run_request", "instanceCount": 1},
    ]
    assert "run_request" in bindings()
    assert scale()["alwaysReady"] == []


def test_runs_per_instance_are_those_of_host_json() -> None:
    queues = re.findall(r'"(?:batchSize|newBatchThreshold)": (\d+)', (ROOT / "host.json").read_text())

    assert f"var runsPerInstance = {sum(map(int, queues))}\n" in (INFRA / "modules" / "app.bicep").read_text()


def test_the_app_runs_on_the_python_of_this_project() -> None:
    runtime = deployed().one("Microsoft.Web/sites").at("properties.functionAppConfig.runtime")

    assert runtime == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
