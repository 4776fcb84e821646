"""The app's metrics, read in the process that records them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from shared.platform import metrics


@contextmanager
def counting() -> Iterator[InMemoryMetricReader]:
    """What is recorded meanwhile, from nothing on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_meter", None)
        patch.setattr(metrics, "_gauges", {})
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        metrics.send_to(provider)
        yield reader
        provider.shutdown()
        metrics._made.cache_clear()


def told(reader: InMemoryMetricReader, name: str) -> dict[str, float]:
    """The values of a metric by those of its attributes."""
    data = reader.get_metrics_data()
    found = [] if data is None else [one for each in data.resource_metrics for one in each.scope_metrics]
    return {
        ", ".join(str(value) for value in (point.attributes or {}).values()): getattr(point, "value", 0.0)
        for scope in found
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }
