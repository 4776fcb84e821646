"""What health tells of deployments."""

from __future__ import annotations

from collections.abc import Callable

from shared.pipeline import health
from tests.support.app_in_process import App, deployment


async def test_health_names_the_day_each_deployments_model_is_retired(app: App, configure: Callable[..., None]) -> None:
    configure(
        [
            deployment(app.model.url),
            deployment(app.model.url, "newer", model="gpt-image-2"),
            deployment(app.model.url, "odd", model="somebody-elses"),
        ]
    )
    shown = {entry["name"]: entry["model_retires_on"] for entry in (await health.details())["deployments"]}

    assert shown == {"gpt-image-1": "2026-10-23", "newer": "2027-04-21", "odd": None}
