"""Metrics: the one list of what is counted and measured, with units by UCUM (https://ucum.org/ucum).

Rooms name an instrument of the list and a value. Attributes have few values, all of them known beforehand:
deployments, models, doors, states and codes; never an owner or a job. docs/telemetry.md explains each; a test compares
the two.
Without anybody to send them to (`exporting`), recording does nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from shared.errors import CODES
from shared.platform import tracing

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, MeterProvider, Observation

log = logging.getLogger("darkroom")

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800, 3600, 14400, 86400)
"""Bounds of the histograms: from a store of milliseconds to the day a job may wait."""
_SERVICE_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "contentFilter",
        "content_filter",
        "ResponsibleAIPolicyViolation",
    }
)
OTHER = "other"
_TOLD_FOR = 150.0
"""Seconds after which a gauge's value is no longer told: what is known of everybody's state is said once a minute, by
one instance, and another one must not go on telling what it saw an hour ago."""


@dataclass(frozen=True, slots=True)
class Instrument:
    kind: Literal["histogram", "counter", "gauge"]
    unit: str
    description: str


INSTRUMENTS: dict[str, Instrument] = {
    "darkroom.queue.wait": Instrument("histogram", "s", "From when a job's message was due to its run"),
    "darkroom.pacing.wait": Instrument("histogram", "s", "From when a job wanted the model to its turn"),
    "darkroom.model.duration": Instrument("histogram", "s", "From sending a call to the head of its answer"),
    "darkroom.decode.duration": Instrument("histogram", "s", "From the head of an answer to its last byte, decoded"),
    "darkroom.store.duration": Instrument("histogram", "s", "From the end of an answer to the end of its job"),
    "darkroom.model.calls": Instrument("counter", "{call}", "Calls to the model"),
    "darkroom.refusals": Instrument("counter", "{call}", "Calls the model refused for what was asked"),
    "darkroom.tokens": Instrument("counter", "{token}", "Tokens the model reported"),
    "darkroom.cost": Instrument("counter", "{currency}", "What calls cost by the price list"),
    "darkroom.jobs.ended": Instrument("counter", "{job}", "Jobs that ended"),
    "darkroom.deployments.out": Instrument("gauge", "1", "1 while a deployment is not called, else 0"),
}

_meter: Meter | None = None
_gauges: dict[str, dict[frozenset[tuple[str, str]], tuple[float, float]]] = {}
"""The values of gauges by name and attributes, each with the time (monotonic) of its telling."""
_call: ContextVar[Mapping[str, str]] = ContextVar("darkroom_call", default={})  # noqa: B039 - nobody changes it


def send_to(provider: MeterProvider) -> None:
    """Record with `provider` from here on. As with spans it is nobody else's."""
    global _meter
    _meter = provider.get_meter(tracing.SCOPE)
    _made.cache_clear()
    for name, instrument in INSTRUMENTS.items():
        if instrument.kind == "gauge":
            _meter.create_observable_gauge(name, [partial(_told, name)], instrument.unit, instrument.description)


def record(name: str, value: float, attributes: Mapping[str, str] | None = None) -> None:
    """Measure (histogram, gauge) or add (counter) `value`. Never raises: an image that was paid for must not be lost
    over a figure about it."""
    try:
        match INSTRUMENTS[name].kind:
            case "histogram":
                _made(name).record(value, attributes)  # type: ignore[union-attr]
            case "counter":
                _made(name).add(value, attributes)  # type: ignore[union-attr]
            case "gauge":
                told = _gauges.setdefault(name, {})
                told[frozenset((attributes or {}).items())] = (value, time.monotonic())
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("%s was not recorded: %s", name, type(error).__name__)


def during_a_call(facts: Mapping[str, str]) -> None:
    """What is `timed` from here on, in this task and those it starts, has these attributes too."""
    _call.set(facts)


async def timed[T](span: str, name: str, work: Awaitable[T]) -> T:
    """Await `work` within a span, and record its seconds and outcome."""
    begun, outcome = time.monotonic(), "ok"
    try:
        with tracing.span(span):
            return await work
    except BaseException as error:
        outcome = code(tracing.reason(error))
        raise
    finally:
        record(name, time.monotonic() - begun, {**_call.get(), "darkroom.outcome": outcome})


def code(text: str | None) -> str:
    """`text` if it is a code of ours or a refusal of policy, which are few; else `other`."""
    return text if text in CODES or text in _SERVICE_CODES else OTHER


def _told(name: str, _options: CallbackOptions) -> Iterator[Observation]:
    """What is observed of a gauge: its values that are not old."""
    from opentelemetry.metrics import Observation

    since = time.monotonic() - _TOLD_FOR
    for attributes, (value, told_at) in list(_gauges.get(name, {}).items()):
        if told_at >= since:
            yield Observation(value, dict(attributes))


@cache
def _made(name: str) -> Counter | Histogram:
    from opentelemetry.metrics import NoOpMeter

    meter = _meter or NoOpMeter(tracing.SCOPE)
    wanted = INSTRUMENTS[name]
    if wanted.kind == "histogram":
        return meter.create_histogram(
            name, wanted.unit, wanted.description, explicit_bucket_boundaries_advisory=SECONDS
        )
    return meter.create_counter(name, wanted.unit, wanted.description)
