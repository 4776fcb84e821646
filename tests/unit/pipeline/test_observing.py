"""What the metrics say of calls that brought no answer."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from shared.errors import DarkroomError
from shared.images.pricing import Cost
from shared.pipeline import observing
from shared.pipeline.verdicts import Step
from shared.settings import Deployment
from tests.support.counting import counting, told

DEPLOYMENT = Deployment("main", "https://example.openai.azure.com", "image", "gpt-image-1")
REFUSAL = DarkroomError.from_service(400, {"code": "moderation_blocked", "message": "No."})


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    with counting() as reader:
        yield reader


def test_a_refusal_is_counted_and_costs_nothing(reader: InMemoryMetricReader) -> None:
    observing.failed(DEPLOYMENT, REFUSAL, Step.FAIL, None)

    assert told(reader, "darkroom.refusals") == {"main, gpt-image-1, moderation_blocked": 1}
    assert told(reader, "darkroom.cost") == {}


def test_a_refusal_behind_images_is_a_cost_that_may_have_been_billed(reader: InMemoryMetricReader) -> None:
    observing.failed(DEPLOYMENT, REFUSAL, Step.FAIL_UNKNOWN, Cost(Decimal("0.25"), "USD"))

    assert told(reader, "darkroom.refusals") == {}
    assert told(reader, "darkroom.cost") == {"main, gpt-image-1, possibly billed, USD": 0.25}


def test_a_call_that_was_dropped_before_it_was_sent_is_no_refusal(reader: InMemoryMetricReader) -> None:
    observing.failed(DEPLOYMENT, DarkroomError("canceled", "x"), Step.FAIL, None)

    assert told(reader, "darkroom.refusals") == {}
