"""An OTLP/HTTP receiver on this machine: what an app sends of its traces, metrics and logs, kept to be looked at.

Senders come in by `POST /v1/traces`, `/v1/metrics` and `/v1/logs` (protobuf, gzip or not,
https://opentelemetry.io/docs/specs/otlp/#otlphttp); tests and people by:

- `GET /_local/spans?trace=&name=` the spans taken, as they came
- `GET /_local/metrics?name=` the newest point of each series (name, attributes, sender)
- `GET /_local/logs?job=` the log records, newest last
- `DELETE` of each forgets them; what a sender counted before stays in its next points, since sums are cumulative
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.serving import serve

_KEPT = 20_000
_PROTOBUF = "application/x-protobuf"
_SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS = ("UNSET", "OK", "ERROR")


class Receiver:
    """What was taken, and the routes; `app` is the ASGI application."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.logs: list[dict[str, Any]] = []
        self.series: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.app = Starlette(
            routes=[
                Route("/v1/traces", self.take_traces, methods=["POST"]),
                Route("/v1/metrics", self.take_metrics, methods=["POST"]),
                Route("/v1/logs", self.take_logs, methods=["POST"]),
                Route("/_local/spans", self.show_spans, methods=["GET", "DELETE"]),
                Route("/_local/metrics", self.show_metrics, methods=["GET", "DELETE"]),
                Route("/_local/logs", self.show_logs, methods=["GET", "DELETE"]),
            ]
        )

    async def take_traces(self, request: Request) -> Response:
        """Take spans."""
        message = ExportTraceServiceRequest()
        if not await _read(request, message):
            return _unreadable()
        for sent in message.resource_spans:
            resource = _attributes(sent.resource.attributes)
            for scope in sent.scope_spans:
                self.spans += [_span(span, scope.scope.name, resource) for span in scope.spans]
        del self.spans[:-_KEPT]
        return _taken(ExportTraceServiceResponse())

    async def take_metrics(self, request: Request) -> Response:
        """Take metrics."""
        message = ExportMetricsServiceRequest()
        if not await _read(request, message):
            return _unreadable()
        for sent in message.resource_metrics:
            resource = _attributes(sent.resource.attributes)
            for scope in sent.scope_metrics:
                for metric in scope.metrics:
                    for point in _points(metric, resource):
                        key = (metric.name, resource.get("service.instance.id"), *sorted(point["attributes"].items()))
                        self.series[key] = point
        return _taken(ExportMetricsServiceResponse())

    async def take_logs(self, request: Request) -> Response:
        """Take log records."""
        message = ExportLogsServiceRequest()
        if not await _read(request, message):
            return _unreadable()
        for sent in message.resource_logs:
            resource = _attributes(sent.resource.attributes)
            for scope in sent.scope_logs:
                self.logs += [_log(record, resource) for record in scope.log_records]
        del self.logs[:-_KEPT]
        return _taken(ExportLogsServiceResponse())

    async def show_spans(self, request: Request) -> Response:
        """The spans taken, or those of one trace, or of one name."""
        if request.method == "DELETE":
            self.spans.clear()
        return JSONResponse({"spans": _matching(request, self.spans, {"trace": "trace_id", "name": "name"})})

    async def show_metrics(self, request: Request) -> Response:
        """The newest point of each series, or of those of one name."""
        if request.method == "DELETE":
            self.series.clear()
        return JSONResponse({"metrics": _matching(request, self.series.values(), {"name": "name"})})

    async def show_logs(self, request: Request) -> Response:
        """The log records taken, or those about one job."""
        if request.method == "DELETE":
            self.logs.clear()
        wanted = request.query_params.get("job")
        found = [log for log in self.logs if wanted in (None, log["attributes"].get("darkroom.job"))]
        return JSONResponse({"logs": found})


async def _read(request: Request, message: Any) -> bool:
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip() != _PROTOBUF:
        return False
    try:
        message.ParseFromString(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)
    except (DecodeError, OSError, EOFError, zlib.error):
        return False
    return True


def _taken(answer: Any) -> Response:
    return Response(answer.SerializeToString(), media_type=_PROTOBUF)


def _unreadable() -> Response:
    return JSONResponse({"message": f"Send {_PROTOBUF}, plain or gzip."}, status_code=400)


def _matching(request: Request, taken: Iterable[dict[str, Any]], members: dict[str, str]) -> list[dict[str, Any]]:
    wanted = {member: request.query_params[name] for name, member in members.items() if name in request.query_params}
    return [one for one in taken if all(one[member] == value for member, value in wanted.items())]


def _span(span: Any, scope: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "kind": _SPAN_KINDS[span.kind],
        "start": span.start_time_unix_nano / 1e9,
        "end": span.end_time_unix_nano / 1e9,
        "attributes": _attributes(span.attributes),
        "status": {"code": _STATUS[span.status.code], "message": span.status.message},
        "links": [{"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links],
        "events": [{"name": event.name, "attributes": _attributes(event.attributes)} for event in span.events],
        "scope": scope,
        "resource": resource,
    }


def _points(metric: Any, resource: dict[str, Any]) -> list[dict[str, Any]]:
    kind = metric.WhichOneof("data")
    about = {"name": metric.name, "unit": metric.unit, "description": metric.description, "kind": kind}
    return [
        {
            **about,
            "attributes": _attributes(point.attributes),
            **(
                {"count": point.count, "sum": point.sum, "bounds": list(point.explicit_bounds)}
                if kind == "histogram"
                else {"value": getattr(point, point.WhichOneof("value") or "as_int")}
            ),
            "resource": resource,
        }
        for point in getattr(metric, kind).data_points
    ]


def _log(record: Any, resource: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": record.time_unix_nano / 1e9,
        "severity": record.severity_number,
        "severity_text": record.severity_text,
        "body": _value(record.body),
        "attributes": _attributes(record.attributes),
        "trace_id": record.trace_id.hex() or None,
        "span_id": record.span_id.hex() or None,
        "resource": resource,
    }


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind) if kind else None


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; print `ready http://127.0.0.1:<port>` once listening."""
    parser = argparse.ArgumentParser(prog="python -m local.otlp", description="Local receiver of telemetry (OTLP).")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    serve(Receiver().app, options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
