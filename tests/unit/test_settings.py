"""Settings never raise: what is wrong becomes a sentence that names it, and the default stands in its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import settings

GOOD = {
    "AZURE_OPENAI_ENDPOINT": "https://one.openai.azure.com/",
    "STORAGE__blobServiceUri": "https://account.blob.core.windows.net",
    "STORAGE__queueServiceUri": "https://account.queue.core.windows.net",
    "STORAGE__tableServiceUri": "https://account.table.core.windows.net",
    "EVENTS__topicEndpointUri": "https://topic.westus3-1.eventgrid.azure.net/api/events",
    "PUBLIC_BASE_URL": "https://images.example.com",
}


def test_a_complete_environment_has_no_problems() -> None:
    found = settings.read(GOOD)

    assert found.problems == ()
    [deployment] = found.deployments
    assert deployment.endpoint == "https://one.openai.azure.com"
    assert (deployment.name, deployment.model, deployment.requests_per_minute) == ("gpt-image-1", "gpt-image-1", 9)


def test_links_are_built_from_the_platforms_hostname_where_no_base_is_set() -> None:
    environment = {**GOOD, "PUBLIC_BASE_URL": "", "WEBSITE_HOSTNAME": "app-1.westus3-01.azurewebsites.net"}

    assert settings.read(environment).public_base_url == "https://app-1.westus3-01.azurewebsites.net"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_OPENAI_ENDPOINT", ""),
        ("AZURE_OPENAI_ENDPOINT", "one.openai.azure.com"),
        ("STORAGE__tableServiceUri", "ftp://account"),
        ("MAX_PROMPT_CHARS", "many"),
        ("MAX_PROMPT_CHARS", "nan"),
        ("MAX_REQUEST_BYTES", str(2**40)),
        ("SYNC_BUDGET_SECONDS", "0"),
        ("RETRY_UNKNOWN_OUTCOME", "sometimes"),
        ("EVENT_PROMPTS", "yes please"),
        ("RESULT_LINK_MINUTES", "10081"),
        ("DEPLOYMENTS", "not json"),
        ("DEPLOYMENTS", "[]"),
    ],
)
def test_a_wrong_setting_is_a_problem_that_names_it(name: str, value: str) -> None:
    found = settings.read({**GOOD, name: value})

    assert any(problem.startswith(name) for problem in found.problems)


def test_private_networks_are_refused_on_azure() -> None:
    found = settings.read({**GOOD, "ALLOW_PRIVATE_NETWORKS": "1", "WEBSITE_SITE_NAME": "darkroom-prod"})

    assert not found.allow_private_networks
    assert any("ALLOW_PRIVATE_NETWORKS" in problem for problem in found.problems)


def test_several_deployments_are_listed_in_their_order() -> None:
    listed = [
        {"name": "west", "endpoint": "https://west.openai.azure.com", "requests_per_minute": 3, "priority": 1},
        {"name": "east", "endpoint": "https://east.openai.azure.com", "deployment": "img", "model": "gpt-image-1-mini"},
    ]
    found = settings.read({**GOOD, "DEPLOYMENTS": json.dumps(listed)})

    assert found.problems == ()
    assert [(entry.name, entry.deployment, entry.priority) for entry in found.deployments] == [
        ("west", "west", 1),
        ("east", "img", 0),
    ]


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("west", "DEPLOYMENTS[0]"),
        ({"name": "west"}, "DEPLOYMENTS[0]"),
        ({"name": "west", "endpoint": "http://west"}, "DEPLOYMENTS[0].endpoint"),
        ({"name": "west", "endpoint": "https://west", "key": "secret"}, "DEPLOYMENTS[0].key"),
        (
            {"name": "west", "endpoint": "https://west", "requests_per_minute": "9"},
            "DEPLOYMENTS[0].requests_per_minute",
        ),
        ({"name": "west", "endpoint": "https://west", "requests_per_minute": -1}, "DEPLOYMENTS[0]"),
        ({"name": "west", "endpoint": "https://west", "priority": True}, "DEPLOYMENTS[0].priority"),
    ],
)
def test_a_wrong_deployment_is_named_by_its_place(entry: object, where: str) -> None:
    found = settings.read({**GOOD, "DEPLOYMENTS": json.dumps([entry])})

    assert found.deployments == ()
    assert any(problem.startswith(where) for problem in found.problems)
    assert not any("secret" in problem for problem in found.problems)


@given(st.dictionaries(st.sampled_from([*GOOD, "DEPLOYMENTS", "MAX_PROMPT_CHARS", "JOB_MAX_WAIT_HOURS"]), st.text()))
def test_no_environment_makes_reading_settings_raise(environment: dict[str, str]) -> None:
    assert isinstance(settings.read(environment), settings.Settings)
