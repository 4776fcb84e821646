"""Log lines on their way to a receiver: with their job, and never at the cost of who logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging import LogRecord

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from shared.platform.log_lines import LogLines


@pytest.fixture
def exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture
def lines(exporter: InMemoryLogRecordExporter) -> Iterator[LogLines]:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    yield LogLines(provider.get_logger("tests"))
    provider.shutdown()


def record(message: str, *arguments: object, level: int = logging.INFO, error: Exception | None = None) -> LogRecord:
    raised = None if error is None else (type(error), error, error.__traceback__)
    return LogRecord("darkroom", level, __file__, 1, message, arguments, raised)


def test_a_line_is_sent_with_its_job_and_its_severity(lines: LogLines, exporter: InMemoryLogRecordExporter) -> None:
    lines.handle(record("job %s, call %s: %s", "j1", 1, "rate_limit_exceeded", level=logging.WARNING))

    [sent] = [one.log_record for one in exporter.get_finished_logs()]
    assert (sent.body, sent.severity_text) == ("job j1, call 1: rate_limit_exceeded", "WARNING")
    assert sent.severity_number is not None
    assert sent.severity_number.value == 13
    assert sent.attributes == {"darkroom.job": "j1"}


def test_the_message_of_an_exception_is_not_sent(lines: LogLines, exporter: InMemoryLogRecordExporter) -> None:
    lines.handle(record("storing failed", error=ValueError("a tangerine lamp")))

    [sent] = [one.log_record for one in exporter.get_finished_logs()]
    assert sent.body == "storing failed"
    assert "tangerine" not in repr(sent)


def test_a_line_that_cannot_be_made_costs_nobody_his_work(lines: LogLines, exporter: InMemoryLogRecordExporter) -> None:
    lines.handle(record("job %s has %d images", "j1", "no number"))
    lines.handle(record("job %s ended", "j1"))

    assert [one.log_record.body for one in exporter.get_finished_logs()] == ["job j1 ended"]
