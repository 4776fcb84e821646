"""docs/deploy.md and `infra/` say the same."""

from __future__ import annotations

import json
import re

from tests.infra.reference import INFRA, ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_page_has_every_parameter_with_its_default() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"].values()
    values = [one["value"] for one in given if isinstance(one["value"], str)]
    defaults = dict(re.findall(r"^\$\{(\w+)=(.*)\}$", "\n".join(values), re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? ?\|", section("Parameters"), re.MULTILINE)

    assert {name: default.strip() for name, default in rows} == defaults


def test_the_page_says_of_every_alert_what_to_do() -> None:
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", section("Alerts"), re.MULTILINE))

    assert rows == {path.stem for path in (INFRA / "queries").glob("*.kql")}


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGE):
        page, _, anchor = target.partition("#")
        text = (ROOT / "docs" / page).read_text() if page else PAGE
        assert not anchor or anchor in anchors(text), target
