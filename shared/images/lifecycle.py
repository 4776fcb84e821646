"""When Azure retires each model: `models.json`, which `infra/` reads too.

The table is Microsoft's schedule as of its date `checked`; dates have moved before. `version` is empty where the
schedule names none, `requests_per_minute` the quota of a new subscription (tier 1).
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from shared.images.capabilities import family


def retires_on(model: str) -> date | None:
    """The day after which the service refuses calls to `model`; None for a model that is not in the table."""
    row = _models().get(family(model) or "")
    return None if row is None else date.fromisoformat(row["retires"])


@cache
def _models() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("models.json").read_text())["models"]
    return table
