"""Sending telemetry: only when asked to, to Application Insights too, and never at the app's cost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SCRIPT = """
import asyncio, sys
from shared.platform import exporting, metrics, tracing
asyncio.run(exporting.begin())
NOT_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"  # as the Functions host has it
with tracing.about("j1"), tracing.span("run", parent=NOT_SAMPLED):
    with tracing.span("generate_content gpt-image-1", {"server.address": "model.example"}, kind="CLIENT"):
        metrics.record("darkroom.tokens", 7, {"gen_ai.token.type": "output"})
print(sorted(name for name in sys.modules if name in ("opentelemetry.sdk", "azure.monitor.opentelemetry.exporter")))
"""


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "APPLICATION"))}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(
        command, cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True, check=True, timeout=60
    )


@contextmanager
def ingestion() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What Application Insights is sent: envelopes, one a line."""
    taken: list[dict[str, Any]] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            text = (gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body).decode()
            sent = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
            taken.extend(sent)
            answer = json.dumps({"itemsReceived": len(sent), "itemsAccepted": len(sent), "errors": []}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()


def test_nothing_is_loaded_unless_somebody_is_to_be_sent_to() -> None:
    assert run().stdout.strip() == "[]"


def test_a_wrong_connection_string_costs_telemetry_and_not_the_app() -> None:
    done = run(APPLICATIONINSIGHTS_CONNECTION_STRING="InstrumentationKey=secret-but-wrong")

    assert "telemetry is not sent: ValueError" in done.stderr
    assert "secret-but-wrong" not in done.stdout + done.stderr


def test_application_insights_gets_spans_as_dependencies_and_metrics() -> None:
    """Not as requests: those are the host's, and would be counted twice."""
    with ingestion() as (endpoint, taken):
        key = "00000000-0000-0000-0000-000000000001"
        run(APPLICATIONINSIGHTS_CONNECTION_STRING=f"InstrumentationKey={key};IngestionEndpoint={endpoint}")

    found = {
        (data["baseType"], data["baseData"].get("name") or data["baseData"]["metrics"][0]["name"])
        for data in (envelope["data"] for envelope in taken)
    }
    assert found >= {
        ("RemoteDependencyData", "run"),
        ("RemoteDependencyData", "generate_content gpt-image-1"),
        ("MetricData", "darkroom.tokens"),
    }
    assert {kind for kind, _ in found} == {"RemoteDependencyData", "MetricData"}
    [run_envelope] = [sent["data"]["baseData"] for sent in taken if sent["data"]["baseData"].get("name") == "run"]
    assert run_envelope["properties"] == {"darkroom.job": "j1"}
    assert {sent["tags"]["ai.cloud.role"] for sent in taken} == {"darkroom"}


def test_no_trace_is_left_out_because_the_host_says_so_but_because_the_operator_does() -> None:
    with ingestion() as (endpoint, taken):
        key = "00000000-0000-0000-0000-000000000001"
        insights = f"InstrumentationKey={key};IngestionEndpoint={endpoint}"
        sent = run(APPLICATIONINSIGHTS_CONNECTION_STRING=insights)
        all_of_them = [one["data"]["baseType"] for one in taken]
        taken.clear()
        run(APPLICATIONINSIGHTS_CONNECTION_STRING=insights, OTEL_TRACES_SAMPLER="parentbased_always_on")

    assert all_of_them.count("RemoteDependencyData") == 2
    assert "RemoteDependencyData" not in [one["data"]["baseType"] for one in taken]
    assert sent.stderr == "", "what is sent well is sent without a word"
