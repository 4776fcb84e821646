"""The workflow samples: each call is one of the API and of the connector, each member they read is one that is
answered, and each has a Bicep file that gives it all it needs. `tests/stack/test_workflows.py` runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import infrastructure
from tests.infra.bicep_deployment import Deployment
from tests.infra.reference import ROLES
from tests.infra.test_connector import DEFINITION
from tests.support.schemas import DOCUMENT

FOLDER = Path(__file__).parents[2] / "infra" / "workflows"
WORKFLOWS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
GIVEN = {
    "generate-and-wait": {"appUrl": "https://a.example", "audience": "api://a"},
    "approve-results": {
        "appUrl": "https://a.example",
        "audience": "api://a",
        "approvalUrl": "https://b.example/approvals",
        "topicName": "topic",
        "storageAccountName": "account",
    },
    "drop-and-collect": {"storageAccountName": "account"},
}
each = pytest.mark.parametrize("name", sorted(WORKFLOWS))


def operation_of(method: str, path: str) -> tuple[str, dict[str, Any]]:
    """The operation of the OpenAPI document that a request is one of."""
    for template, methods in DOCUMENT["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in methods:
            return template, methods[method.lower()]
    raise LookupError(f"{method} {path}")


def actions(level: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every action, those in branches too."""
    for name, action in level.items():
        yield name, action
        yield from actions(action.get("actions", {}))
        yield from actions(action.get("else", {}).get("actions", {}))


def requests(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, action in actions(workflow["actions"]):
        if action["type"] == "Http":
            yield name, action["inputs"]
        elif action["type"] == "HttpWebhook":
            yield name, action["inputs"]["subscribe"]


def app_calls(workflow: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Name, inputs, path and operation of each call of the app."""
    start = "@{parameters('appUrl')}"
    for name, inputs in requests(workflow):
        if inputs["uri"].startswith(start):
            path, operation = operation_of(inputs["method"], re.sub(r"@\{[^}]*\}", "x", inputs["uri"][len(start) :]))
            yield name, inputs, path, operation


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    choices = [resolved(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return choices[0] if choices and "properties" not in schema else schema


def test_there_are_the_three() -> None:
    assert WORKFLOWS.keys() == GIVEN.keys() == {path.stem for path in FOLDER.glob("*.bicep")}


@each
def test_every_call_of_the_app_is_one_of_the_api_and_of_the_connector(name: str) -> None:
    for action, inputs, path, operation in app_calls(WORKFLOWS[name]):
        parameters = {(one["in"], one["name"]): one for one in operation.get("parameters", ())}
        assert inputs["method"].lower() in DEFINITION["paths"][path], action
        assert {("query", one) for one in inputs.get("queries", {})} <= parameters.keys(), action
        assert {("header", one) for one in inputs.get("headers", {}) if one != "Content-Type"} <= parameters.keys()
        assert ("header", "Idempotency-Key") not in parameters or "Idempotency-Key" in inputs["headers"], action
        assert inputs["authentication"] == {
            "type": "ManagedServiceIdentity",
            "audience": "@parameters('audience')",
        }
        if "requestBody" in operation:
            body = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
            assert inputs["body"].keys() <= body["properties"].keys(), action


def answered(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each expression that can be read from holds: `body('...')`, `outputs('...')`, `triggerBody()`."""
    found = {
        f"body('{name}')": operation["responses"]["200"]["content"]["application/json"]["schema"]
        for name, _, _, operation in app_calls(workflow)
    }
    ended = {"$ref": "#/components/schemas/JobEnded"}
    found |= {
        f"body('{name}')": ended
        for name, inputs in requests(workflow)
        if isinstance(inputs.get("body"), dict) and "callback_url" in inputs["body"]
    }
    [trigger] = workflow["triggers"].values()
    if trigger["type"] == "Request":
        found["triggerBody()"] = trigger["inputs"]["schema"]
    if "Event" in workflow["actions"]:
        found["outputs('Event')"] = {"$ref": "#/components/schemas/JobEvent"}
    return found


@each
def test_every_member_that_is_read_is_one_that_is_answered(name: str) -> None:
    text = json.dumps({one: WORKFLOWS[name][one] for one in ("triggers", "actions")})
    holders = answered(WORKFLOWS[name])
    read = [
        (holder, re.findall(r"\?\['(\w+)'\]", chain))
        for holder, chain in re.findall(r"((?:body|outputs)\('\w+'\)|triggerBody\(\))((?:\)?\?\['\w+'\])+)", text)
        if holder in holders
    ]

    assert read
    for holder, chain in read:
        schema = resolved(holders[holder])
        for member in chain:
            assert member in schema["properties"], (holder, chain)
            schema = resolved(schema["properties"][member])
            schema = resolved(schema["items"]) if "items" in schema else schema


@each
def test_every_name_in_an_expression_is_there(name: str) -> None:
    workflow = WORKFLOWS[name]
    text = json.dumps(workflow["actions"]) + json.dumps(workflow["triggers"])
    names = [one for one, _ in actions(workflow["actions"])]

    assert len(set(names)) == len(names)
    assert set(re.findall(r"(?:body|outputs)\('(\w+)'\)", text)) <= set(names)
    assert set(re.findall(r"parameters\('([\w$]+)'\)", text)) == workflow["parameters"].keys()
    for _, action in actions(workflow["actions"]):
        assert action.get("runAfter", {}).keys() <= set(names)


@each
def test_its_bicep_file_gives_it_its_parameters_and_an_identity(name: str) -> None:
    deployed = Deployment(FOLDER / f"{name}.bicep", GIVEN[name]).run()
    made = deployed.one("Microsoft.Logic/workflows")

    assert made.at("properties.definition") == WORKFLOWS[name]
    assert made.at("properties.parameters").keys() == WORKFLOWS[name]["parameters"].keys()
    assert made.at("identity.type") == "SystemAssigned"
    assert deployed.outputs["principalId"]


@each
def test_there_is_no_secret_in_it(name: str) -> None:
    text = json.dumps(WORKFLOWS[name]) + (FOLDER / f"{name}.bicep").read_text()

    assert not re.search(r"sig=|AccountKey|x-functions-key|listKeys|code=|SharedAccess", text)


def test_roles_are_for_one_queue_or_container() -> None:
    given = {}
    for name in WORKFLOWS:
        for one in (
            Deployment(FOLDER / f"{name}.bicep", GIVEN[name]).run().of_type("Microsoft.Authorization/roleAssignments")
        ):
            role = one.at("properties.roleDefinitionId").rpartition("/")[2]
            given[name, one.at("properties.principalId")] = (ROLES[role], one.at("scope").rpartition("/services/")[2])

    assert {key: (role, scope.rsplit("/", 2)[1:]) for key, (role, scope) in given.items()} == {
        ("approve-results", "principal of topic"): ("Storage Queue Data Message Sender", ["queues", "job-events"]),
        ("approve-results", "principal of darkroom-approve-results"): (
            "Storage Queue Data Message Processor",
            ["queues", "job-events"],
        ),
        ("drop-and-collect", "principal of darkroom-drop-and-collect"): (
            "Storage Blob Data Contributor",
            ["containers", "uploads"],
        ),
    }


def test_events_are_those_the_app_sends_and_go_to_the_queue_that_is_read() -> None:
    deployed = Deployment(FOLDER / "approve-results.bicep", GIVEN["approve-results"]).run()
    subscription = deployed.one("Microsoft.EventGrid/topics/eventSubscriptions")
    sent = DOCUMENT["components"]["schemas"]["JobEvent"]["properties"]["type"]["enum"]
    queue = subscription.at("properties.deliveryWithResourceIdentity.destination.properties.queueName")
    parameters = deployed.one("Microsoft.Logic/workflows").at("properties.parameters")

    assert set(subscription.at("properties.filter.includedEventTypes")) <= set(sent)
    assert queue == parameters["queueName"]["value"]
    assert queue not in infrastructure.QUEUES, "the app's own queues are the app's to read"
    assert subscription.at("properties.eventDeliverySchema") == "CloudEventSchemaV1_0"


def test_files_are_dropped_where_the_app_looks_with_the_request_last() -> None:
    workflow = WORKFLOWS["drop-and-collect"]
    dropped = {name: inputs for name, inputs in requests(workflow) if inputs["method"] == "PUT"}
    last = workflow["actions"]["Drop_the_request_and_wait"]

    for inputs in dropped.values():
        assert inputs["uri"].startswith("@{parameters('blobEndpoint')}uploads/@{workflow().run.name}/")
        assert inputs["headers"]["x-ms-blob-type"] == "BlockBlob"
    names = {inputs["uri"].rpartition("/")[2] for inputs in dropped.values()}
    order = last["inputs"]["subscribe"]["body"]
    assert names == {*order["images"], order["mask"], "request.json"}
    assert last["runAfter"].keys() == dropped.keys() - {"Drop_the_request_and_wait"}
    edit = resolved({"$ref": "#/components/schemas/EditRequest"})
    assert order.keys() <= edit["properties"].keys()
