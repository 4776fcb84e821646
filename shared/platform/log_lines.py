"""Log lines as OpenTelemetry records: the text as it is, and the job, the trace and the span as fields.

The SDK's own handler is deprecated, and would send the messages of exceptions, which may quote what a caller sent.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from shared.platform import tracing

if TYPE_CHECKING:
    from opentelemetry._logs import Logger

_NANOSECONDS = 1_000_000_000


class LogLines(logging.Handler):
    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        self.addFilter(tracing.name_the_job)

    def emit(self, record: logging.LogRecord) -> None:
        from opentelemetry._logs import SeverityNumber

        job = record.__dict__.get(tracing.JOB_FIELD)
        with contextlib.suppress(Exception):  # a line that is lost, and no work with it
            self._logger.emit(
                timestamp=int(record.created * _NANOSECONDS),
                # https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
                severity_number=SeverityNumber(min(record.levelno // 10 * 4 + 1, 24)),
                severity_text=record.levelname,
                body=record.getMessage(),
                attributes={tracing.JOB_FIELD: job} if job else {},
            )
