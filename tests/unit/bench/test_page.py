"""The page of benchmarks says what was measured, and nothing else."""

import json
from pathlib import Path

import pytest

from bench import figures, page
from bench.report import Result, Target

KNOWN = figures.read()


def test_the_tables_of_the_page_are_those_of_the_figures() -> None:
    text = page.PAGE.read_text()
    assert page.with_figures(text, KNOWN) == text


def test_every_part_of_the_bench_has_figures_and_a_place_on_the_page() -> None:
    text = page.PAGE.read_text()
    for part in page.PARTS:
        assert part in KNOWN
        assert f"<!-- {part} -->" in text


@pytest.mark.parametrize("part", page.PLOTS)
def test_a_plot_shows_the_figures_that_are_kept(part: str) -> None:
    assert f"figures {page.digest(KNOWN, part)}" in page.plot(part).read_text()


def test_a_missed_target_is_told_on_the_page() -> None:
    known = json.loads(json.dumps(KNOWN))
    known["imports"]["targets"][0]["met"] = False
    assert "**missed**" in page.with_figures(page.PAGE.read_text(), known)


def test_figures_of_a_part_take_the_place_of_its_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(figures, "FILE", file)
    figures.record("one", Result([Target("speed", 1.23456, 2.0)], {"seconds": 0.123456}))
    figures.record("two", Result([], {}))
    figures.record("one", Result([Target("speed", 3.0, 2.0)], {"seconds": [1.0]}))
    kept = figures.read()
    assert kept["one"]["figures"] == {"seconds": [1.0]}
    assert kept["one"]["targets"][0]["met"] is False
    assert kept["two"]["targets"] == []
