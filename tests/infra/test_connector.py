"""The connector's files: current, valid Swagger 2.0, and by the rules Microsoft has published for connectors
(learn.microsoft.com/connectors/custom-connectors: coding-standards, openapi-extensions, create-webhook-trigger)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV2SpecValidator
from PIL import Image, ImageColor

from infra.generate import connector, icon

FOLDER = Path(__file__).parents[2] / "infra" / "connector"
TEXT = (FOLDER / "apiDefinition.swagger.json").read_text()
DEFINITION: dict[str, Any] = json.loads(TEXT)
PROPERTIES: dict[str, Any] = json.loads((FOLDER / "apiProperties.json").read_text())["properties"]
ICON = (FOLDER / "icon.png").read_bytes()
OPERATIONS = {
    operation["operationId"]: operation
    for item in DEFINITION["paths"].values()
    for method, operation in item.items()
    if not method.startswith("x-")
}
TITLE = re.compile(r"[A-Z0-9][\w-]*( ([A-Z0-9][\w-]*|of|by|at|on|in|from|to))*")
_MEGABYTE = 2**20


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `value`."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from objects(item)


def fields() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """What a flow's maker fills in, by operation and name: parameters, and members of bodies at any depth; and whether
    it is required."""
    for name, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "body":
                yield f"{name}.{parameter['name']}", parameter, parameter["required"]
                continue
            for schema in objects(parameter["schema"]):
                for member, one in schema.get("properties", {}).items():
                    yield f"{name}.{member}", one, member in schema.get("required", ())


def test_it_is_valid_swagger() -> None:
    OpenAPIV2SpecValidator(DEFINITION).validate()


def test_it_has_the_actions_and_the_trigger() -> None:
    shown = {name for name, one in OPERATIONS.items() if one.get("x-ms-visibility") != "internal"}

    assert shown == {"Generate", "Edit", "Submit", "GetJob", "ListJobs", "CancelJob", "Estimate", "WhenAJobEnds"}


def test_operations_are_named_in_pascal_case_and_said_in_sentences() -> None:
    assert len(OPERATIONS) == sum(not key.startswith("x-") for item in DEFINITION["paths"].values() for key in item)
    for name, operation in OPERATIONS.items():
        assert re.fullmatch(r"([A-Z][a-z]*)+", name)
        assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+)*", operation["summary"]), name
        assert len(operation["summary"]) <= 80
        assert operation["description"].endswith("."), name
        assert operation["description"].rstrip(".") != operation["summary"]


def test_every_field_has_a_title_and_a_sentence() -> None:
    for name, one, _ in fields():
        if "$ref" in one:
            continue
        assert TITLE.fullmatch(one["x-ms-summary"]), name
        assert re.fullmatch(r"[A-Z].*\.", one.get("description", "A box's.")), name
        assert one.get("description", "").rstrip(".") != one["x-ms-summary"], name


def test_every_member_of_an_answer_has_a_title() -> None:
    for schema in objects(DEFINITION["definitions"]):
        for name, one in schema.get("properties", {}).items() if schema.get("type") == "object" else ():
            assert "$ref" in one or TITLE.fullmatch(one["x-ms-summary"]), name


def test_every_answer_has_a_schema_and_every_operation_an_error() -> None:
    for name, operation in OPERATIONS.items():
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), name
        assert responses["default"]["schema"] == {"$ref": "#/definitions/Error"}
        assert all("schema" in one for status, one in responses.items() if status != "204"), name


def test_what_is_hidden_and_required_is_filled_in_by_somebody() -> None:
    for name, one, required in fields():
        visibility = one.get("x-ms-visibility", "important")
        assert visibility in ("important", "advanced", "internal"), name
        if visibility == "internal" and required:
            assert "default" in one or one.get("x-ms-notification-url") is True, name


def test_there_is_nothing_the_designers_do_not_know() -> None:
    for one in objects(DEFINITION):
        assert not one.keys() & {"oneOf", "anyOf", "allOf", "not", "nullable", "x-nullable", "const", "propertyNames"}
        assert not isinstance(one.get("type"), list)
        assert "$ref" not in one or len(one) == 1, "words beside a reference are overlooked"
    assert None not in [value for one in objects(DEFINITION) for value in one.get("enum", ()) or ()]


def test_the_trigger_subscribes_with_a_location_and_can_be_ended_there() -> None:
    triggers = [(path, item) for path, item in DEFINITION["paths"].items() if "x-ms-trigger" in item.get("post", {})]
    [(path, item)] = triggers
    body = item["post"]["parameters"][0]["schema"]

    assert item["post"]["x-ms-trigger"] == "single"
    assert item["x-ms-notification-content"]["schema"]["$ref"] == "#/definitions/JobEnded"
    assert [name for name, one in body["properties"].items() if one.get("x-ms-notification-url")] == ["url"]
    assert "Location" in item["post"]["responses"]["201"]["headers"]
    assert DEFINITION["paths"][f"{path}/{{id}}"]["delete"]["x-ms-visibility"] == "internal"


def test_jobs_are_waited_for_by_their_location() -> None:
    assert {"Location", "Retry-After"} <= OPERATIONS["Submit"]["responses"]["202"]["headers"].keys()


def test_a_step_that_costs_money_can_be_told_from_its_repetition() -> None:
    for name in ("Generate", "Edit", "Submit"):
        key = next(one for one in OPERATIONS[name]["parameters"] if one["name"] == "Idempotency-Key")
        assert key["x-ms-visibility"] == "important"


def test_no_image_passes_through_a_flow() -> None:
    """A flow takes 100 MB in all, and its history keeps every byte: actions that wait answer with links."""
    for name in ("Generate", "Edit"):
        body = next(one for one in OPERATIONS[name]["parameters"] if one["in"] == "body")["schema"]
        assert body["properties"]["response_format"]["default"] == "url"
        assert "response_format" in body["required"]


def test_the_file_is_laid_out_and_sized_as_asked() -> None:
    assert len(TEXT.encode()) < _MEGABYTE
    assert list(DEFINITION)[:6] == ["swagger", "info", "host", "basePath", "schemes", "consumes"]
    assert not re.search(r"[ \t]$|\t", TEXT, re.MULTILINE)
    assert re.search(r'^    "info"', TEXT, re.MULTILINE), "four spaces"
    assert DEFINITION["schemes"] == ["https"]
    assert "/" not in DEFINITION["host"]


def test_a_connection_asks_for_host_and_key() -> None:
    [(scheme, key)] = DEFINITION["securityDefinitions"].items()
    asked = PROPERTIES["connectionParameters"]

    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "x-functions-key")
    assert DEFINITION["security"] == [{scheme: []}]
    assert asked[scheme]["type"] == "securestring"
    assert asked[scheme]["uiDefinition"]["constraints"]["clearText"] is False
    [policy] = PROPERTIES["policyTemplateInstances"]
    named = re.findall(r"connectionParameters\('(\w+)'\)", json.dumps(policy))
    assert (policy["templateId"], named) == ("dynamichosturl", ["host"])
    assert set(asked) == {scheme, "host"}


def test_the_icon_is_square_opaque_and_on_the_brand_colour() -> None:
    image = Image.open(io.BytesIO(ICON))
    color = PROPERTIES["iconBrandColor"]

    assert (image.format, image.mode, image.width) == ("PNG", "RGB", image.height)
    assert 100 <= image.width <= 230
    assert len(ICON) < _MEGABYTE
    assert re.fullmatch(r"#[0-9A-Fa-f]{6}", color)
    assert color.lower() not in ("#ffffff", "#007ee5")
    edge = image.width - 1
    assert {image.getpixel(at) for at in ((0, 0), (edge, 0), (0, edge), (edge, edge))} == {ImageColor.getrgb(color)}


def test_the_icon_is_the_one_that_is_drawn() -> None:
    drawn = Image.open(io.BytesIO(icon.png(connector.COLOR)))

    assert Image.open(io.BytesIO(ICON)).tobytes() == drawn.tobytes()
