"""Traces: spans, and the W3C context (https://www.w3.org/TR/trace-context/) that ties those of one job together.

Every room comes in here. What is recorded goes where `exporting` sends it; with nobody to send it to, a span costs a
few microseconds and only a caller's context is handed on. The context of a job is on its row (`Job.traceparent`), so it
outlives every message, and goes out with its event and its callback.

No span holds words: of an exception only the code or the kind is noted, since its message may quote what a caller sent.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider

SCOPE = "darkroom"
JOB_FIELD = "darkroom.job"
"""The attribute of spans and log records that names the job they are about."""

type Attributes = Mapping[str, str | int | float | bool]

# Version 00 alone: a later one may say more, of which nothing is known here.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_JOB_IN_A_MESSAGE = re.compile(r"(?i)\bjob %s")

_tracer: Tracer | None = None
_job: ContextVar[str] = ContextVar("darkroom_job", default="")
_invocation: ContextVar[str] = ContextVar("darkroom_invocation", default="")


def send_to(provider: TracerProvider) -> None:
    """Record spans with `provider` from here on. It is ours alone: FastAPI, in which the worker serves the HTTP doors,
    would write whole URLs into a global one, and with them keys and the tokens of polls (0.165, `fastapi.telemetry`).
    """
    global _tracer
    _tracer = provider.get_tracer(SCOPE)


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    kind: str = "INTERNAL",
) -> Iterator[Span]:
    """A span around what is done meanwhile, beneath the current one or beneath `parent`, a traceparent; an empty one
    begins a new trace. `links` are traceparents, empty ones left out. `kind` is a name of `SpanKind`."""
    from opentelemetry import trace
    from opentelemetry.context import Context

    linked = [trace.Link(context) for text in links if (context := _read(text)) is not None]
    above: Context | None = None
    if parent is not None:
        known = _read(parent)
        above = trace.set_span_in_context(trace.NonRecordingSpan(known), Context()) if known else Context()
    tracer = _tracer or trace.NoOpTracer()
    started = tracer.start_span(
        name, above, trace.SpanKind[kind], dict(attributes or {}), linked, record_exception=False
    )
    if started.is_recording() and (job := _job.get()):
        started.set_attribute(JOB_FIELD, job)
    with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield started
        except BaseException as error:
            started.set_attribute("error.type", reason(error))
            started.set_status(trace.StatusCode.ERROR)
            raise


def traced[**P, T](name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """A function whose every run is a span of that name."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def inside(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(name):
                return await function(*args, **kwargs)

        return inside

    return decorate


@contextmanager
def about(job_id: str) -> Iterator[None]:
    """Spans that begin and lines that are logged meanwhile are about this job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


@contextmanager
def invoked_by(traceparent: str) -> Iterator[None]:
    """Note which run of a function this is, by the trace the platform gave it: a message's begins anew each time."""
    token = _invocation.set(traceparent)
    try:
        yield
    finally:
        _invocation.reset(token)


def invocation() -> str:
    """The traceparent of the function's run; empty where none was noted."""
    return _invocation.get()


def current() -> str:
    """The traceparent of the current span; empty where there is none."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else ""


def headers(traceparent: str) -> dict[str, str]:
    """What hands the context on over HTTP, and as an extension of a CloudEvent
    (https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md)."""
    return {"traceparent": traceparent} if traceparent else {}


def reason(error: BaseException) -> str:
    """The code of one of our errors, the kind of any other."""
    return str(getattr(error, "code", type(error).__name__))


def name_the_job(record: logging.LogRecord) -> bool:
    """Put the job a line is about on its record: the one the line names, else the one under way. A filter that lets
    everything pass."""
    if JOB_FIELD not in record.__dict__ and (job := _named(record) or _job.get()):
        record.__dict__[JOB_FIELD] = job
    return True


def _named(record: logging.LogRecord) -> str | None:
    text, arguments = str(record.msg), record.args
    found = _JOB_IN_A_MESSAGE.search(text)
    if found is None or not isinstance(arguments, tuple):
        return None
    position = text.count("%", 0, found.start())
    return str(arguments[position]) if position < len(arguments) else None


def _read(traceparent: str) -> SpanContext | None:
    """None for what is no traceparent: it comes from callers."""
    from opentelemetry import trace

    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    context = trace.SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=trace.TraceFlags(int(found[3], 16))
    )
    return context if context.is_valid else None
