"""docs/settings.md and shared/settings.py name the same settings."""

from __future__ import annotations

import re
from pathlib import Path

from shared import settings

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](?:__[a-z]\w+)?|[A-Z]+__[a-z]\w+|DEPLOYMENTS)\b")
_READ_ELSEWHERE = {"HTTP_AUTH_LEVEL", "STORAGE__credential"}


def test_the_page_has_every_setting_the_app_reads_and_no_other() -> None:
    quoted = re.findall(r'"([A-Za-z_0-9]+)"', (ROOT / "shared" / "settings.py").read_text())
    read = {name for name in quoted if _NAME.fullmatch(name)}
    page = {
        name
        for name in re.findall(r"`([^`\s]+)`", (ROOT / "docs" / "settings.md").read_text())
        if _NAME.fullmatch(name)
    }

    assert page - _READ_ELSEWHERE == read


def test_the_page_has_every_member_of_a_listed_deployment() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()

    assert [name for name in settings.DEPLOYMENT_MEMBERS if f"`{name}`" not in page] == []
