"""The receiver of telemetry: what comes as protobuf is shown as JSON, and what is none is refused."""

from __future__ import annotations

import gzip

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from local.otlp import Receiver

PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Receiver().app), base_url="http://otlp")


async def test_spans_are_shown_by_trace_and_by_name(client: httpx.AsyncClient) -> None:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number, name in enumerate(("run", "store"), start=1):
        scope.spans.add(name=name, trace_id=bytes([number] * 16), span_id=bytes([number] * 8), kind=3)
    sent = await client.post(
        "/v1/traces",
        content=gzip.compress(message.SerializeToString()),
        headers={**PROTOBUF, "content-encoding": "gzip"},
    )

    assert sent.status_code == 200
    [by_trace] = (await client.get("/_local/spans", params={"trace": "01" * 16})).json()["spans"]
    assert (by_trace["name"], by_trace["span_id"], by_trace["parent_id"]) == ("run", "01" * 8, None)
    assert by_trace["kind"] == "CLIENT"
    [by_name] = (await client.get("/_local/spans", params={"name": "store"})).json()["spans"]
    assert by_name["trace_id"] == "02" * 16


async def test_a_series_shows_its_newest_point_alone(client: httpx.AsyncClient) -> None:
    for value in (1, 3):
        message = ExportMetricsServiceRequest()
        metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="darkroom.tokens", unit="{token}")
        point = metric.sum.data_points.add(as_int=value)
        point.attributes.add(key="gen_ai.token.type").value.string_value = "input"
        await client.post("/v1/metrics", content=message.SerializeToString(), headers=PROTOBUF)

    [shown] = (await client.get("/_local/metrics", params={"name": "darkroom.tokens"})).json()["metrics"]
    assert (shown["value"], shown["attributes"]) == (3, {"gen_ai.token.type": "input"})


async def test_log_records_are_shown_by_job_until_they_are_forgotten(client: httpx.AsyncClient) -> None:
    message = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for job in ("j1", "j2"):
        record = scope.log_records.add(severity_number=9, severity_text="INFO")
        record.body.string_value = f"job {job} ended"
        record.attributes.add(key="darkroom.job").value.string_value = job
    await client.post("/v1/logs", content=message.SerializeToString(), headers=PROTOBUF)

    [shown] = (await client.get("/_local/logs", params={"job": "j2"})).json()["logs"]
    assert shown["body"] == "job j2 ended"
    await client.delete("/_local/logs")
    assert (await client.get("/_local/logs")).json() == {"logs": []}


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {"content-type": "application/json"}),
        (b"\xff\xff\xff", PROTOBUF),
        (b"no gzip", {**PROTOBUF, "content-encoding": "gzip"}),
    ],
)
async def test_what_is_no_otlp_is_refused(
    client: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str]
) -> None:
    assert (await client.post(path, content=body, headers=headers)).status_code == 400
