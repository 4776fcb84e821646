"""Until when each model lives."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.images import lifecycle
from shared.images.capabilities import known_models

TABLE: dict[str, Any] = json.loads((Path(lifecycle.__file__).with_name("models.json")).read_text())


def test_every_model_whose_rules_are_known_has_its_day() -> None:
    assert set(TABLE["models"]) == set(known_models())


@pytest.mark.parametrize("model", TABLE["models"])
def test_a_row_has_a_day_a_quota_and_perhaps_a_version(model: str) -> None:
    row = TABLE["models"][model]

    assert row.keys() == {"version", "retires", "requests_per_minute"}
    assert date.fromisoformat(row["retires"])
    assert row["requests_per_minute"] > 0
    assert row["version"] == "" or date.fromisoformat(row["version"])


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("gpt-image-2", date(2027, 4, 21)),
        ("GPT-Image-2-2026-04-21", date(2027, 4, 21)),
        ("gpt-image-1", date(2026, 10, 23)),
        ("somebody-elses", None),
    ],
)
def test_a_model_is_known_with_and_without_the_date_of_its_version(model: str, day: date | None) -> None:
    assert lifecycle.retires_on(model) == day
