"""What the pages of docs/ name is there: files, tests, settings, codes, queues, tables, functions, alerts, prices."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from local import infrastructure
from shared.errors import CODES
from shared.images import adapt, prices, tokens
from shared.images.pricing import MILLION, plain

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
_CODE = ("functions", "shared", "local", "infra", "bench", "tests/app", "tests/faults", "tests/chaos", "tests/infra")
_TOP = "functions|shared|local|infra|docs|bench|tests"
_WORD = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def section(name: str, title: str) -> str:
    """What stands under a heading of a page, up to the next of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,2}} |\Z)", page(name), re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in `text`, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"[|\s:-]+", line)}
    kept = [line for number, line in enumerate(lines) if number not in rules and number + 1 not in rules]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


def quoted(text: str) -> list[str]:
    """What stands in backticks outside of blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word and dashed word of the sources."""
    files = [ROOT / name for name in ("host.json", "Makefile", "azure.yaml", "function_app.py", "tests/conftest.py")]
    for folder in _CODE:
        files += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".json", ".bicep", ".kql", ".sh", ".ps1")
            and "node_modules" not in path.parts
            and path != Path(__file__)
        ]
    return frozenset(word for path in files for word in _WORD.findall(path.read_text()))


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def bindings() -> dict[str, dict[str, str]]:
    """The trigger of each function."""
    found = json.loads(Path(__file__).with_name("bindings.json").read_text())
    return {name: of_function[0] for name, of_function in found.items()}


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_and_tests_that_are_named_are_there(path: Path) -> None:
    for name in quoted(path.read_text()):
        file, _, test = name.partition("::")
        if re.fullmatch(rf"(?:{_TOP})/[\w./*-]*", file):
            assert list(ROOT.glob(file)), name
        if test:
            assert test in functions_of(ROOT / file), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_names_of_settings_codes_queues_and_the_like_are_those_of_the_code(path: Path) -> None:
    """A name is a word with an underscore or a dash in it."""
    named = {name for name in quoted(path.read_text()) if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(?:_+|-)[\w-]+", name)}

    assert named - words_of_the_code() - foreign_names() == set()


def foreign_names() -> set[str]:
    """Names that the pages mention and others have: the host's, an old model's, a client's."""
    return {"AzureFunctionsJobHost__extensions__queues__batchSize", "dall-e-2", "extra_body"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_make_has_the_targets_that_are_named(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)", path.read_text())) <= targets


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(docs/([a-z]+)\.(?:md|html)", (ROOT / "README.md").read_text()))

    assert linked >= {path.stem for path in DOCS.glob("*.md")}


# -- architecture --------------------------------------------------------------------------------------------------


def test_architecture_has_every_container_table_queue_and_timer() -> None:
    text = section("architecture", "Where everything is")
    firsts = [row[0].strip("`") for row in rows(text)]
    triggers = bindings()
    timers = {name: one["schedule"] for name, one in triggers.items() if one["type"] == "timerTrigger"}
    queues = {one["queueName"]: name for name, one in triggers.items() if one["type"] == "queueTrigger"}

    assert set(infrastructure.CONTAINERS) <= set(firsts)
    assert set(infrastructure.TABLES) <= set(firsts)
    assert {row[0].strip("`"): row[1].strip("`") for row in rows(text) if row[0].strip("`") in timers} == timers
    shown = {row[0].strip("`"): row[2].strip("`") for row in rows(text) if row[0].strip("`") in queues}
    assert shown == {name: function for name, function in queues.items() if not name.endswith("-poison")}
    poison = dict(re.findall(r"`([a-z-]+-poison)`, `(\w+)`", text))
    assert poison == {name: function for name, function in queues.items() if name.endswith("-poison")}
    assert set(infrastructure.QUEUES) == set(shown) | set(poison)


def test_the_diagram_names_modules_that_are_there() -> None:
    diagram = page("architecture").split("```mermaid")[1].split("```")[0]
    doors, rooms = diagram.split("subgraph pipeline")

    assert all((ROOT / "functions" / name).exists() for name in re.findall(r"\w+\.py", doors))
    assert all((ROOT / "shared/pipeline" / name).exists() for name in re.findall(r"\w+\.py", rooms.split("end\n")[0]))


# -- operations ----------------------------------------------------------------------------------------------------


def alerts() -> Iterator[tuple[str, str]]:
    """Name and frequency of every rule, dead letters' with an empty one."""
    text = (ROOT / "infra" / "modules" / "alerts.bicep").read_text()
    yield from re.findall(r"name: '([a-z-]+)'\n    text: .*\n    severity: \d\n    frequency: '(\w+)'", text)
    yield from ((name, "") for name in re.findall(r"name: '([a-z]+)'\n    id: ", text))


def test_operations_explains_every_alert_and_says_how_often_it_looks() -> None:
    often = {"PT5M": "every 5 minutes", "PT15M": "every 15 minutes", "P1D": "daily", "": "every 5 minutes"}
    shown = {row[0].split("`")[1]: row[1] for row in rows(section("operations", "Alerts").split("###")[0])}

    assert shown == {name: often[frequency] for name, frequency in alerts()}
    for name, frequency in alerts():
        assert f"\n### {name}\n" in page("operations") or not frequency


def test_operations_explains_every_code_that_an_alert_counts() -> None:
    query = (ROOT / "infra" / "queries" / "jobs-failed.kql").read_text()
    counted = set(re.findall(r"'(\w+)'", query.partition("Code in (")[2]))
    explained = page("operations").split("### jobs-failed")[1].split("###")[0]

    assert {code for row in rows(explained) for code in quoted(row[0])} == counted
    assert counted <= set(CODES)


def test_operations_says_how_much_an_instance_does_at_once() -> None:
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    bicep = (ROOT / "infra" / "modules" / "app.bicep").read_text()
    http = re.search(r"var httpConcurrency = (\d+)", bicep)
    shown = {row[0]: row[1] for row in rows(section("operations", "Scale"))}

    assert http is not None
    assert shown["HTTP requests at once on an instance"] == http[1]
    assert shown["queued jobs at once on an instance"] == str(queues["batchSize"] + queues["newBatchThreshold"])


def test_operations_says_what_becomes_of_every_poison_queue() -> None:
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows(section("operations", "Poison queues"))}
    queues = {one["queueName"]: name for name, one in bindings().items() if one["type"] == "queueTrigger"}

    assert shown == {name: function for name, function in queues.items() if name.endswith("-poison")}


# -- security ------------------------------------------------------------------------------------------------------


def test_every_threat_has_an_answer_and_a_test_that_shows_it() -> None:
    titles = ("Callers", "What callers send", "Where the app goes for callers", "What leaves")
    for title in (*titles, "What the app itself may do"):
        for threat, answer, shown in rows(section("security", title)):
            assert answer, threat
            assert all(name.startswith("tests/") for name in quoted(shown)), threat
            assert quoted(shown), threat


# -- cost and migration --------------------------------------------------------------------------------------------


def test_the_prices_are_those_of_the_table() -> None:
    table = prices.published()
    shown = {row[0].strip("`"): row[1:] for row in rows(section("cost", "What a picture costs")) if len(row) == 4}

    assert set(shown) == set(table.models)
    for model, rates in table.models.items():
        assert shown[model] == [f"{rates.text_input:f}", f"{rates.image_input:f}", f"{rates.image_output:f}"]


def test_a_picture_costs_what_its_tokens_do() -> None:
    table = prices.published()
    sizes = ((1024, 1024), (1024, 1536), (1536, 1024))
    shown = {
        (row[0].strip("`"), row[1].strip("`")): row[2:]
        for row in rows(section("cost", "What a picture costs"))
        if len(row) == 5
    }
    expected = {}
    for model in table.models:
        for quality in ("low", "medium", "high"):
            counts = [tokens.output_tokens(model, width, height, quality) for width, height in sizes]
            if None not in counts:
                rate = Decimal(table.models[model].image_output)
                expected[model, quality] = [plain((count or 0) * rate / MILLION) for count in counts]

    assert shown == expected


def test_the_words_of_dall_e_are_those_that_are_adapted() -> None:
    text = section("migration", "Parameters").split("Not adapted")[0]
    shown = {(row[0].strip("`"), row[1].split("`")[1]): row[2] for row in rows(text)}
    expected = {
        **{("quality", old): f"`{new}`" for old, new in adapt.QUALITIES.items()},
        **{("size", old): f"`{new}`" for old, new in adapt.SIZES.items()},
        **{("style", old): f'"{sentence}"' for old, sentence in adapt.STYLES.items()},
        ("model", adapt.DALL_E_3): "the first configured deployment",
    }

    assert set(shown) == set(expected)
    for words, becomes in expected.items():
        assert becomes in shown[words], words
