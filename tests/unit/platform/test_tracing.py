"""Spans and the records of log lines: how they hang together, and that they hold no words."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.errors import DarkroomError
from shared.platform import incoming, tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer(tracing.SCOPE))
    yield exporter
    provider.shutdown()


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    [span] = exporter.get_finished_spans()
    return span


def test_a_span_beneath_a_traceparent_continues_its_trace(recorded: InMemorySpanExporter) -> None:
    with tracing.span("run", parent=TRACEPARENT):
        inside = tracing.current()

    span = only(recorded)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert inside == f"00-{TRACE}-{span.get_span_context().span_id:016x}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-{SPAN}-01",
        f"{TRACEPARENT}-more",
        TRACEPARENT.upper(),
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(recorded: InMemorySpanExporter, text: str) -> None:
    with tracing.span("other"), tracing.span("run", parent=text, links=(text,)):
        pass

    run, _ = recorded.get_finished_spans()
    assert run.parent is None
    assert list(run.links) == []


def test_a_failed_span_tells_the_code_and_no_message(recorded: InMemorySpanExporter) -> None:
    with pytest.raises(DarkroomError), tracing.span("run"):
        raise DarkroomError("invalid_value", "the prompt 'a tangerine' is wrong")

    span = only(recorded)
    assert dict(span.attributes or {}) == {"error.type": "invalid_value"}
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "tangerine" not in span.to_json()


def test_spans_of_a_job_name_it(recorded: InMemorySpanExporter) -> None:
    with tracing.about("j1"), tracing.span("run"):
        pass

    assert only(recorded).attributes == {"darkroom.job": "j1"}


def test_without_an_sdk_a_callers_context_is_handed_on() -> None:
    with tracing.span("accept", parent=TRACEPARENT):
        inside = tracing.current()

    assert inside == TRACEPARENT
    assert tracing.headers(inside) == {"traceparent": TRACEPARENT}
    assert tracing.headers(tracing.current()) == {}


async def test_a_request_that_only_reads_is_no_span(recorded: InMemorySpanExporter) -> None:
    async with incoming.request("get_job", "GET", {"traceparent": TRACEPARENT}):
        pass
    async with incoming.request("submit_job", "POST", {"traceparent": TRACEPARENT}):
        pass

    assert only(recorded).name == "submit_job"


def record(message: str, *arguments: object) -> logging.LogRecord:
    made = logging.LogRecord("darkroom", logging.INFO, "", 1, message, arguments, None)
    assert tracing.name_the_job(made)
    return made


def test_a_line_is_about_the_job_it_names() -> None:
    with tracing.about("other"):
        assert record("the message of job %s was not taken (%s)", "j1", "x").__dict__["darkroom.job"] == "j1"
        assert record("%s: Job %s is late", "x", "j2").__dict__["darkroom.job"] == "j2"


def test_a_line_that_names_no_job_is_about_the_one_under_way() -> None:
    with tracing.about("j1"):
        assert record("storing failed").__dict__["darkroom.job"] == "j1"
    assert "darkroom.job" not in record("storing failed").__dict__
