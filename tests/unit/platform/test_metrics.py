"""The list of metrics: explained in the docs, and of few values each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from shared.platform import metrics
from tests.support.counting import counting, told

PAGE = Path(__file__).parents[3] / "docs" / "telemetry.md"


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    with counting() as reader:
        yield reader


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


def test_what_a_gauge_was_told_long_ago_is_not_told_again(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One instance sees a deployment go out, another one that it is back: the first must fall silent."""
    now = 1_000.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    metrics.record("darkroom.deployments.out", 1, {"darkroom.deployment": "west"})
    metrics.record("darkroom.deployments.out", 0, {"darkroom.deployment": "east"})
    assert told(reader, "darkroom.deployments.out") == {"west": 1, "east": 0}

    now += 120  # two minutes: told every minute, with one turn missed
    metrics.record("darkroom.deployments.out", 0, {"darkroom.deployment": "west"})
    assert told(reader, "darkroom.deployments.out") == {"west": 0, "east": 0}
    now += 120
    assert told(reader, "darkroom.deployments.out") == {"west": 0}
    now += 120
    assert told(reader, "darkroom.deployments.out") == {}


def test_counters_add_up_whoever_asks(reader: InMemoryMetricReader) -> None:
    metrics.record("darkroom.tokens", 7, {"gen_ai.token.type": "output"})
    metrics.record("darkroom.tokens", 5, {"gen_ai.token.type": "output"})

    assert told(reader, "darkroom.tokens") == {"output": 12}
