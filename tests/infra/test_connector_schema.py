"""The connector's files hold nothing that Microsoft's own JSON schemas for them do not know.

Source: github.com/microsoft/PowerPlatformConnectors, `schemas/apiDefinition.swagger.schema.json` and
`paconn-apiProperties.schema.json` (what `paconn validate` goes by), and, for the extensions of triggers that these do
not have, learn.microsoft.com/connectors/custom-connectors/openapi-extensions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.infra.test_connector import DEFINITION, OPERATIONS, PROPERTIES, fields, objects

_VALUE = {"type", "format", "enum", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_VALUE |= {"maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "items"}
_SHOWN = {"description", "x-ms-summary", "x-ms-visibility"}
SCHEMA = _VALUE | _SHOWN | {"$ref", "title", "required", "properties", "additionalProperties", "maxProperties"}
TRIGGERS_BODY = {"x-ms-notification-url"}
PARAMETER = _VALUE | _SHOWN | {"name", "in", "required", "collectionFormat"}
BODY = {"name", "in", "required", "description", "schema", "x-ms-summary", "x-ms-visibility"}
HEADER = _VALUE | {"description", "collectionFormat"}
RESPONSE = {"description", "schema", "headers", "examples"}
OPERATION = {"operationId", "summary", "description", "parameters", "responses", "deprecated", "x-ms-visibility"}
TRIGGER = {"x-ms-trigger", "x-ms-trigger-hint"}
ROOT = {"swagger", "info", "host", "basePath", "schemes", "consumes", "produces", "paths", "definitions"}
ROOT |= {"securityDefinitions", "security", "x-ms-connector-metadata"}
FORMATS = {
    "string": {"byte", "binary", "date", "date-time", "password", "date-no-tz", "html", "uri"},
    "integer": {"int32", "int64"},
    "number": {"float", "double"},
}


def schemas(value: Any) -> Iterator[dict[str, Any]]:
    """A schema and those within it; its properties' names are not taken for members of it."""
    yield value
    for one in value.get("properties", {}).values():
        yield from schemas(one)
    for name in ("items", "additionalProperties"):
        if isinstance(value.get(name), dict):
            yield from schemas(value[name])


def all_schemas() -> Iterator[dict[str, Any]]:
    for one in DEFINITION["definitions"].values():
        yield from schemas(one)
    for operation in OPERATIONS.values():
        for holder in (*operation.get("parameters", ()), *operation["responses"].values()):
            if "schema" in holder:
                yield from schemas(holder["schema"])
    for item in DEFINITION["paths"].values():
        if "x-ms-notification-content" in item:
            yield from schemas(item["x-ms-notification-content"]["schema"])


def test_the_definition_has_members_that_are_known_where_they_stand() -> None:
    assert DEFINITION.keys() <= ROOT
    assert DEFINITION["info"].keys() <= {"title", "description", "version", "contact", "license", "termsOfService"}
    for item in DEFINITION["paths"].values():
        assert item.keys() <= {"get", "put", "post", "delete", "patch", "x-ms-notification-content"}
        assert item.get("x-ms-notification-content", {}).keys() <= {"description", "schema"}
    for operation in OPERATIONS.values():
        assert operation.keys() <= OPERATION | (TRIGGER if "x-ms-trigger" in operation else set())
        for parameter in operation.get("parameters", ()):
            known = {"body": BODY, "path": PARAMETER | {"x-ms-url-encoding"}}.get(parameter["in"], PARAMETER)
            assert parameter.keys() <= known, parameter["name"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5][0-9]{2}|default", status)
            assert response.keys() <= RESPONSE
            assert all(header.keys() <= HEADER for header in response.get("headers", {}).values())


def test_schemas_have_members_and_formats_that_are_known() -> None:
    for one in all_schemas():
        assert one.keys() <= SCHEMA | TRIGGERS_BODY
        if "format" in one:
            assert one["format"] in FORMATS[one["type"]], one
        assert "$ref" not in one or re.fullmatch(r"#/definitions/[A-Za-z]+", one["$ref"])
        if "required" in one:
            assert one["required"], "names, and at least one"
            assert set(one["required"]) <= one["properties"].keys()


def test_extensions_have_the_values_that_are_known() -> None:
    for one in objects(DEFINITION):
        assert one.get("x-ms-visibility", "important") in ("important", "advanced", "internal")
        assert one.get("x-ms-trigger", "single") in ("single", "batch")
        assert one.get("x-ms-url-encoding", "single") in ("single", "double")
        assert one.get("x-ms-notification-url", True) is True
    told = [one for one in all_schemas() if "x-ms-notification-url" in one]
    assert [one["type"] for one in told] == ["string"]


def test_every_definition_is_used_and_every_reference_leads_to_one() -> None:
    referred = {one["$ref"].rpartition("/")[2] for one in all_schemas() if "$ref" in one}

    assert referred == DEFINITION["definitions"].keys()


def test_paths_and_their_parameters_agree() -> None:
    for path, item in DEFINITION["paths"].items():
        for operation in (one for method, one in item.items() if not method.startswith("x-")):
            given = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
            assert {name for place, name in given if place == "path"} == set(re.findall(r"{(\w+)}", path))
            assert len(set(given)) == len(given)
            assert sum(place == "body" for place, _ in given) <= 1
            assert all(one["required"] for one in operation.get("parameters", ()) if one["in"] == "path")


def test_nothing_is_named_twice_where_it_is_chosen_from_a_list() -> None:
    summaries = Counter(operation["summary"] for operation in OPERATIONS.values())
    assert [name for name, count in summaries.items() if count > 1] == []
    titles = Counter(
        (name.partition(".")[0], one["x-ms-summary"]) for name, one, _ in fields() if "x-ms-summary" in one
    )
    assert [title for title, count in titles.items() if count > 1] == []


def test_a_step_has_one_form_of_good_answer() -> None:
    """What later steps of a flow choose from is made of the first one."""
    for name, operation in OPERATIONS.items():
        good = [one.get("schema") for status, one in operation["responses"].items() if status.startswith("2")]
        assert len({str(schema) for schema in good}) == 1, name


def test_the_app_is_introduced_by_the_published_rules_for_titles() -> None:
    info = DEFINITION["info"]

    assert len(info["title"]) <= 30
    assert not re.search(r"\b(api|connector|power ?apps|power ?automate|copilot)\b", info["title"], re.IGNORECASE)
    assert 30 <= len(info["description"]) <= 500
    assert re.fullmatch(r"[^{}/ :\\]+(?::\d+)?", DEFINITION["host"])
    assert DEFINITION["basePath"].startswith("/")
    assert {one["propertyName"] for one in DEFINITION["x-ms-connector-metadata"]} == {
        "Website",
        "Privacy policy",
        "Categories",
    }


def test_the_properties_have_members_that_are_known() -> None:
    assert PROPERTIES.keys() <= {
        *("iconBrandColor", "capabilities", "connectionParameters", "policyTemplateInstances"),
        *("publisher", "stackOwner", "scriptOperations"),
    }
    assert isinstance(PROPERTIES["capabilities"], list)
    for parameter in PROPERTIES["connectionParameters"].values():
        assert parameter.keys() == {"type", "uiDefinition"}
        assert parameter["type"] in ("string", "securestring")
        shown = parameter["uiDefinition"]
        assert shown.keys() == {"displayName", "description", "tooltip", "constraints"}
        assert shown["constraints"].keys() == {"tabIndex", "clearText", "required"}
        assert shown["constraints"]["required"] in ("true", "false")
    for policy in PROPERTIES["policyTemplateInstances"]:
        assert policy.keys() <= {"templateId", "title", "parameters"}
        assert policy["parameters"].keys() == {"x-ms-apimTemplateParameter.urlTemplate"}
