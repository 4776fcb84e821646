"""The list of metrics: explained in the docs, and of few values each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.platform import metrics

PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"


def test_the_page_explains_every_metric_with_its_unit_and_no_other() -> None:
    rows = re.findall(r"^\| `(darkroom\.[a-z.]+)` \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)

    assert dict(rows) == {name: instrument.unit for name, instrument in metrics.INSTRUMENTS.items()}


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("expired", "expired"),
        ("moderation_blocked", "moderation_blocked"),
        ("418", "other"),
        ("whatever a service says", "other"),
        (None, "other"),
    ],
)
def test_a_code_that_is_not_known_beforehand_is_other(code: str | None, shown: str) -> None:
    assert metrics.code(code) == shown


async def test_what_is_timed_gives_its_answer_and_its_failure() -> None:
    async def fails() -> int:
        raise ValueError

    async def works() -> int:
        return 7

    assert await metrics.timed("decode", "darkroom.decode.duration", works()) == 7
    with pytest.raises(ValueError):  # noqa: PT011 - it has no words
        await metrics.timed("decode", "darkroom.decode.duration", fails())


def test_a_figure_that_cannot_be_recorded_costs_nothing_but_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("words that are nobody's business")

    monkeypatch.setattr(metrics, "_made", broken)

    metrics.record("darkroom.tokens", 7)
    assert [record.getMessage() for record in caplog.records] == ["darkroom.tokens was not recorded: RuntimeError"]
