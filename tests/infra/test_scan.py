"""How the scanner's findings are accounted for. `make lint-infra` runs the scanner, which has to be installed first."""

from __future__ import annotations

import json

import pytest

from tests.infra import scan
from tests.infra.bicep_syntax import parse
from tests.infra.reference import INFRA


def test_every_exception_has_a_reason_and_names_what_is_there() -> None:
    entries = json.loads((scan.HERE / "checkov" / "exceptions.json").read_text())
    for check, entry in entries.items():
        assert len(entry["reason"]) > 30, check
        assert entry["resources"], check
        for one in entry["resources"]:
            path, symbol = one.split(": ")
            assert parse(INFRA / path)[symbol].kind == "resource", one


def test_a_finding_without_a_reason_and_a_reason_without_a_finding_are_both_said() -> None:
    found, allowed = {"A": {"x: one"}, "B": {"x: two"}}, {"B": {"x: two", "x: three"}}

    assert scan.unaccounted(found, allowed) == [
        "A objects to x: one",
        "B has an exception for x: three, and no objection",
    ]


def test_a_report_of_files_that_could_not_be_read_does_not_count() -> None:
    with pytest.raises(RuntimeError, match="did not read everything"):
        scan.read({"summary": {"parsing_errors": 1, "resource_count": 9}, "results": {"failed_checks": []}})


def test_a_finding_is_named_by_its_file_and_symbol() -> None:
    one = {"check_id": "C", "file_path": "/modules/a.bicep", "resource": "Microsoft.Web/sites.site"}
    report = {"summary": {"parsing_errors": 0, "resource_count": 9}, "results": {"failed_checks": [one]}}

    assert scan.read(report) == {"C": {"modules/a.bicep: site"}}
