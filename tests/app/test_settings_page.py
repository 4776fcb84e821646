"""docs/settings.md and the app name the same settings, and the modules that make use of each."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from shared import settings

ROOT = Path(__file__).parents[2]
_SOURCE = ROOT / "shared" / "settings.py"
_NAME = re.compile(r"\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9](?:__[a-z]\w+)?|[A-Z]+__[a-z]\w+|DEPLOYMENTS)\b")
_READ_ELSEWHERE = {"HTTP_AUTH_LEVEL", "STORAGE__credential"}
# How the app's modules call the settings and a deployment that they look at.
_SETTINGS = r"(?:settings\(\)|current|configured|read\(os\.environ\))"
_DEPLOYMENT = r"(?:deployment|entry|named)"


def page() -> str:
    return (ROOT / "docs" / "settings.md").read_text()


def test_the_page_has_every_setting_the_app_reads_and_no_other() -> None:
    quoted = re.findall(r'"([A-Za-z_0-9]+)"', _SOURCE.read_text())
    read = {name for name in quoted if _NAME.fullmatch(name)}
    shown = {name for name in re.findall(r"`([^`\s]+)`", page()) if _NAME.fullmatch(name)}

    assert shown - _READ_ELSEWHERE == read


def test_the_page_has_every_member_of_a_listed_deployment() -> None:
    assert [name for name in settings.DEPLOYMENT_MEMBERS if f"`{name}`" not in page()] == []


def test_the_page_says_which_modules_read_a_setting() -> None:
    fields, members = fields_of_settings(), members_of_deployments()
    for name, cell in rows().items():
        if name in members:
            found = modules_with(rf"\b{_DEPLOYMENT}\.{members[name]}\b")
        elif name in _READ_ELSEWHERE:
            found = modules_with(rf'environ\.get\("{name}"')
        else:
            looked_at = "|".join(sorted(fields[name]))
            # `.deployment(name)` is the look-up of one by its name.
            found = modules_with(rf"{_SETTINGS}\.(?:{looked_at}{'|deployment' if name == 'DEPLOYMENTS' else ''})\b")
        assert found, name
        assert set(re.findall(r"`([^`]+)`", cell)) == found, name


def test_every_setting_of_a_table_says_where_it_is_read() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", page(), re.MULTILINE))

    assert named == set(rows())
    assert set(fields_of_settings()) | set(members_of_deployments()) <= named | {
        name for name in fields_of_settings() if name.startswith("WEBSITE_")
    }


def rows() -> dict[str, str]:
    """The last of four cells of each row, by the setting's name."""
    return dict(re.findall(r"^\| `([^`]+)` \|.*\|.*\| ([^|]+) \|$", page(), re.MULTILINE))


@cache
def fields_of_settings() -> dict[str, set[str]]:
    """The members of `Settings` that are made of each environment variable."""
    tree = ast.parse(_SOURCE.read_text())
    read = _function(tree, "read")
    locals_of_read = {
        node.targets[0].id: node.value
        for node in ast.walk(read)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found: dict[str, set[str]] = defaultdict(set)
    for keyword in _call(read, "Settings").keywords:
        for name in _constants(keyword.value, locals_of_read):
            found[name].add(str(keyword.arg))
    found["DEPLOYMENTS"].add("deployments")  # by a function of its own, with those that describe one
    return dict(found)


@cache
def members_of_deployments() -> dict[str, str]:
    """The member of `Deployment` that is made of each environment variable; its name is `deployment` as well."""
    one = _function(ast.parse(_SOURCE.read_text()), "_deployments")
    made = {
        node.targets[0].id: node.value
        for node in ast.walk(one)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return {
        name: str(keyword.arg)
        for keyword in _call(one, "Deployment").keywords
        for name in _constants(keyword.value, made)
    }


@cache
def modules_with(pattern: str) -> set[str]:
    """The app's modules, but for the settings' own, in whose source `pattern` is."""
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for folder in ("functions", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if path != _SOURCE
    }
    of_settings = _SETTINGS in pattern
    return {
        name
        for name, source in sources.items()
        if re.search(pattern, source) and (not of_settings or "settings" in source)
    }


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def _call(function: ast.FunctionDef, name: str) -> ast.Call:
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name)


def _constants(value: ast.expr, known: dict[str, ast.expr]) -> set[str]:
    """The names of environment variables in `value`, and in what the local names in it stand for."""
    found: set[str] = set()
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            found.add(node.value)
        elif isinstance(node, ast.Name) and node.id in known and known[node.id] is not value:
            found |= _constants(known[node.id], {name: one for name, one in known.items() if name != node.id})
    return found
