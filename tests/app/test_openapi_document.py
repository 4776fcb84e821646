"""The OpenAPI document: valid, of all the app's routes and no others, and the page of it is current."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from infra.generate.__main__ import files
from shared.api import document
from shared.api.operations import OPERATIONS
from shared.errors import CODES
from shared.settings import Settings
from tests.support.schemas import DOCUMENT

ROOT = Path(__file__).parents[2]
BINDINGS: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("bindings.json").read_text())
ROUTES = {name: bindings[0] for name, bindings in BINDINGS.items() if "route" in bindings[0]}
LISTED = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_it_describes_every_route_and_no_other() -> None:
    routes = {(name, method.lower(), f"/{one['route']}") for name, one in ROUTES.items() for method in one["methods"]}

    assert {(one.function, one.method, one.path) for one in OPERATIONS} == routes


def test_it_asks_for_a_key_where_the_platform_does() -> None:
    assert {one.function for one in OPERATIONS if one.is_open} == {
        name for name, route in ROUTES.items() if route["authLevel"] == "ANONYMOUS"
    }


def test_operations_are_told_apart() -> None:
    assert len({operation["operationId"] for operation in LISTED}) == len(LISTED)
    assert all(operation["description"].endswith(".") for operation in LISTED)


def test_every_parameter_of_a_path_is_described() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path


def test_every_error_code_stands_at_its_status() -> None:
    responses = DOCUMENT["components"]["responses"]

    for code, kind in CODES.items():
        assert f"`{code}`" in responses[str(kind.status)]["description"], code


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))

    assert references == set(DOCUMENT["components"]["schemas"])


def test_an_app_says_its_address_and_its_own_limit_of_prompts() -> None:
    own = document.build(Settings(public_base_url="https://a.example", max_prompt_chars=99))

    assert own["servers"] == [{"url": "https://a.example"}]
    assert own["components"]["schemas"]["GenerateRequest"]["properties"]["prompt"]["maxLength"] == 99


@pytest.mark.parametrize("name", [name for name in files() if not name.endswith(".png")])
def test_what_is_generated_is_current(name: str) -> None:
    assert (ROOT / name).read_bytes() == files()[name], "run `make connector`"


def test_the_page_fetches_nothing() -> None:
    page = (ROOT / "docs" / "openapi.html").read_text()

    assert not re.search(r"<script|<link|<img|src=|url\(|@import", page)
    assert all(one["operationId"] in page for one in LISTED)
    assert all(f'id="{name}"' in page for name in DOCUMENT["components"]["schemas"])
