"""Where traces and metrics go: to Application Insights, to an OTLP receiver, to both, or, by default, nowhere.

`begin` is awaited by every door. The first time it imports and starts what the environment asks for, beside the event
loop; a cold start without any of it pays nothing.

Application Insights gets the log lines from the Functions host, which relays what the app logs; an OTLP receiver gets
them from here, with the job, the trace and the span as fields.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import TYPE_CHECKING

from shared.platform import metrics, tracing
from shared.settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger("darkroom")

_LOGGERS = ("darkroom", "shared")
_REPORTS_ON_ITSELF = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
"""What the exporter would tell its makers, and ask them, in threads of its own; and what it would ask the global
provider, which is not ours, and complain of with each export."""
_EVERY_TRACE = ("OTEL_TRACES_SAMPLER", "always_on")
"""The SDK's own default heeds the caller's `sampled` flag, and the Functions host never sets it
(github.com/microsoft/ApplicationInsights-dotnet/issues/2835): on Azure no trace would be left."""

_begun: asyncio.Future[None] | None = None


async def begin() -> None:
    """Start sending, once for this process. Never raises: an app without telemetry is better than none."""
    global _begun
    if _begun is None:
        _begun = asyncio.get_running_loop().create_future()
        try:
            await asyncio.to_thread(_start)
        finally:
            _begun.set_result(None)
    elif not _begun.done():
        await asyncio.shield(_begun)


def _start() -> None:
    current = settings()
    try:
        if current.otlp_endpoint or current.application_insights:
            _set_up(otlp=bool(current.otlp_endpoint), insights=current.application_insights)
    except Exception as error:  # noqa: BLE001 - see `begin`; a wrong connection string is quoted in its error
        log.error("telemetry is not sent: %s", type(error).__name__)


def _set_up(*, otlp: bool, insights: str | None) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault(*_EVERY_TRACE)
    resource = _resource()
    tracers = TracerProvider(resource=resource)
    readers: list[MetricReader] = []
    if otlp:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        _send_logs(resource)
    if insights:
        for name in _REPORTS_ON_ITSELF:
            os.environ.setdefault(name, "true")
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

        # No file is left behind: what cannot be sent is not kept, and its token is that of
        # APPLICATIONINSIGHTS_AUTHENTICATION_STRING, which the exporter reads itself.
        chosen = {"connection_string": insights, "disable_offline_storage": True}
        tracers.add_span_processor(BatchSpanProcessor(AzureMonitorTraceExporter(**chosen)))
        readers.append(PeriodicExportingMetricReader(AzureMonitorMetricExporter(**chosen)))
    metrics.send_to(MeterProvider(readers, resource))
    tracing.send_to(tracers)


def _send_logs(resource: Resource) -> None:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from shared.platform.log_lines import LogLines

    provider = LoggerProvider(resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    lines = LogLines(provider.get_logger(tracing.SCOPE))
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(lines)


def _resource() -> Resource:
    from opentelemetry.sdk.resources import Resource

    instance = os.environ.get("WEBSITE_INSTANCE_ID", "local")[:12]
    return Resource.create(
        {"service.name": settings().app_name, "service.instance.id": f"{instance}-{secrets.token_hex(4)}"}
    )
