"""docs/host.md gives a reason for every value of host.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOST = json.loads((ROOT / "host.json").read_text())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each setting of host.json with its value as the page writes it."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def rows() -> dict[str, tuple[str, str]]:
    """Value and reason of each row of the page's table."""
    found = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+) \|$", (ROOT / "docs" / "host.md").read_text(), re.MULTILINE)
    return {name: (value.strip("`").replace("empty", ""), reason) for name, value, reason in found}


def test_the_page_has_every_value_and_no_other() -> None:
    assert {name: value for name, (value, _) in rows().items()} == dict(leaves(HOST))


def test_every_value_has_a_reason() -> None:
    assert [name for name, (_, reason) in rows().items() if len(reason.split()) < 5] == []


def test_what_the_host_logs_by_itself_holds_no_urls() -> None:
    """Azure/azure-functions-host#11602: keys and tokens in query strings reached the logs these ways."""
    levels = HOST["logging"]["logLevel"]

    assert {levels[name] for name in ("Microsoft.AspNetCore", "System.Net.Http", "Azure.Core")} == {"Warning"}
    assert HOST["logging"]["applicationInsights"]["enableDependencyTracking"] is False
