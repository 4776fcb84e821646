"""docs/api.md names every route and every error code the app has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shared import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_page_has_every_route() -> None:
    bindings = json.loads(Path(__file__).with_name("bindings.json").read_text())
    routes = {
        f"{method} /{trigger['route']}"
        for trigger in (function[0] for function in bindings.values())
        if "route" in trigger
        for method in trigger["methods"]
    }

    assert [route for route in sorted(routes) if route not in PAGE] == []


def test_the_page_has_every_error_code_and_its_status() -> None:
    table = PAGE.partition("## Errors")[2]
    rows = [(re.findall(r"`(\w+)`", cells[1]), int(cells[2])) for cells in map(_cells, table.splitlines()) if cells]
    shown = {code: status for codes, status in rows for code in codes}
    inner = set(re.findall(r"`(\w+)`", next(line for line in table.splitlines() if "inner_error" in line)))

    for code in errors.CODES:
        status = errors.DarkroomError(code, "").status
        assert shown.get(code) == status or code in inner, code
    assert set(shown) <= set(errors.CODES)


def _cells(line: str) -> list[str] | None:
    cells = line.split("|")
    return cells if len(cells) == 5 and cells[2].strip().isdigit() else None
