"""The page shows both readings of null storage and both ways in which events come, whatever was found."""

import json

import pytest

from bench import contenders, figures, page, partials, passing
from bench.report import Result

NAMES = [name for name in contenders.ALL if name != contenders.DIRECT]


def rendered(part: str, result: Result, tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(figures, "FILE", tmp_path / "figures.json")
    figures.record(part, result)
    return page.with_figures(page.PAGE.read_text(), figures.read())


def passing_result(added: float) -> Result:
    """All but the pass-through add `added` seconds, which adds one second."""
    seconds, rates = {}, {}
    for name in contenders.ALL:
        more = {contenders.DIRECT: 0.0, contenders.PASS_THROUGH: 1.0}.get(name, added)
        rates[name] = [100.0, 300.0, 200.0]
        for answer in ("small", "n4"):
            seconds[name, answer] = [2.0 + more, 3.0 + more, 9.0 + more]
    memory = dict.fromkeys(contenders.ALL, 50_000_000)
    taken = passing.Taken(seconds, seconds, rates)
    return passing._result(taken, taken, {"small": 5.0, "n4": 6.0}, memory, memory, provenance=0.5)


def test_both_readings_of_null_storage_are_held_to_the_same_targets(tmp_path, monkeypatch):
    result = passing_result(added=3.0)
    assert [target.value for target in result.targets] == pytest.approx([3.0, 3.0, 1.0] * 2)
    assert [target.met for target in result.targets] == [True, False, False] * 2
    text = rendered("passing", result, tmp_path, monkeypatch)
    for name, reading in contenders.READINGS.items():
        assert f"| {name} | +3000.0 ms | +3000.0 ms | +3000.0 ms | +3000.0 ms | 200 |" in text
        assert f"0.14 MB; {reading} | 3.00 | at most 4.00 | met |" in text
        assert f"4 images of 3 MB; {reading} | 3.00 | at most 2.00 | **missed** |" in text
        assert f"| {name} | +3000.0 ms | +3000.0 ms | 3.00 | 3.00 | 200 |" in text


def test_what_cannot_be_saved_is_told_beside_what_is_added(tmp_path, monkeypatch):
    text = rendered("passing", passing_result(added=3.0), tmp_path, monkeypatch)
    assert (
        "3000.0 ms as a function, 2000.0 ms by the new connection to the model and 500.0 ms of reading the image's "
        "provenance, together 5.50 times what the pass-through adds."
    ) in text


def test_no_target_is_met_because_the_pass_through_was_lost_in_the_noise():
    result = passing_result(added=3.0)
    assert result.met is False
    assert passing._to({"small": 1.0, "n4": 1.0}, {"small": -0.1, "n4": 0.5}) == {"small": float("inf"), "n4": 2.0}


def test_a_partial_image_is_told_by_what_is_added_to_the_direct_way_of_its_round(tmp_path, monkeypatch):
    direct, gateway = [[0.010] * 3, [0.030] * 3], [[0.014] * 3, [0.035] * 3]
    taken = dict.fromkeys(NAMES, gateway) | {contenders.DIRECT: direct}
    result = partials._result(dict.fromkeys(partials.WAYS, taken))
    assert [target.value for target in result.targets] == pytest.approx([0.005] * 4)
    assert result.met
    text = rendered("partials", result, tmp_path, monkeypatch)
    for name in contenders.READINGS:
        assert text.count(f"| {name} | 14.0 ms | 35.0 ms | +4.0 ms | +5.0 ms |") == len(partials.WAYS)


def test_figures_are_json_that_reads_back(tmp_path, monkeypatch):
    rendered("passing", passing_result(added=3.0), tmp_path, monkeypatch)
    assert json.loads(figures.FILE.read_text())["passing"]["figures"]["added_seconds"]["naive function"]["n4"] == 3.0
