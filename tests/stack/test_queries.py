"""The queries of the alerts, the workbook and the docs find what the app really emits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.queue import QueueClient

from local.stack import Stack
from local.state import StackInfo
from tests.support import kql, telemetry
from tests.support.model_control import ModelControl
from tests.support.pages import ROOT, examples
from tests.support.peers import disturb_topic
from tests.support.requests import generate, run
from tests.support.storage import StaticCredential
from tests.support.waiting import eventually

ALERTS = {path.stem: path.read_text() for path in (ROOT / "infra" / "queries").glob("*.kql")}
WORKBOOK = {
    item["name"]: item["content"]["query"]
    for item in json.loads((ROOT / "infra" / "workbook.json").read_text())["items"]
    if "query" in item["content"]
}
PAGE = examples("docs/telemetry.md", "kusto")
[OF_A_JOB] = examples("docs/operations.md", "kusto")
_RUN = re.compile(r"host\.function: Executed '(\w+)' \((Succeeded|Failed), Id=[\w-]+, Duration=(\d+)ms\)")


async def test_queries_find_what_happened(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(environ={"LOCAL_TELEMETRY": "1"})
    info = stack.info
    assert info is not None
    headers = {"x-functions-key": info.key}
    async with httpx.AsyncClient(base_url=info.app, headers=headers, timeout=60, trust_env=False) as app:
        job = await what_happens(app, info)
        await eventually(lambda: telemetry.total(info, "darkroom.jobs.ended") == 4, what="four ends in the metrics")
    tables = await eventually(lambda: complete(info), within=30, what="the last lines")

    def asked(query: str) -> list[kql.Row]:
        return kql.run(query, tables)

    assert asked(ALERTS["deployment-out"]) == [
        {"Deployment": "gpt-image-1", "Code": "deployment_refused", "Calls": 1},
    ]
    assert {row["Code"]: row["Jobs"] for row in asked(ALERTS["jobs-failed"])} == {
        "outcome_unknown": 1,
        "deployment_unavailable": 1,
    }
    assert asked(ALERTS["events-waiting"]) == []  # one event that was late alarms nobody
    assert asked(ALERTS["functions-failed"]) == []
    assert asked(ALERTS["poison"]) == [{"Name": "end_poisoned", "Messages": 1}]

    ended = {row["Status"]: row["Jobs"] for row in asked(WORKBOOK["jobs-ended"])}
    assert ended == {"succeeded": 1, "failed": 3}
    assert sum(row["Jobs"] for row in asked(WORKBOOK["why-jobs-failed"])) == 3
    steps = {(row["Deployment"], row["Code"]): row["Step"] for row in asked(WORKBOOK["calls-that-failed"])}
    assert steps == {
        ("gpt-image-1", "moderation_blocked"): "FAIL",
        ("gpt-image-1", "outcome_unknown"): "FAIL_UNKNOWN",
        ("gpt-image-1", "deployment_refused"): "DEPLOYMENT_OUT",
    }
    assert sum(row["Runs"] for row in asked(WORKBOOK["queued-runs"])) == 2
    assert sum(row["Lines"] for row in asked(WORKBOOK["sent-again-or-given-up"])) == 1

    steps_of_a_job, money, tokens, refusals, out = (asked(query) for query in PAGE)
    assert {row["Name"] for row in steps_of_a_job} == {
        "darkroom.queue.wait",
        "darkroom.pacing.wait",
        "darkroom.model.duration",
        "darkroom.decode.duration",
        "darkroom.store.duration",
    }
    assert {row["Certainty"]: row["Cost"] > 0 for row in money} == {"billed": True, "possibly billed": True}
    assert {row["Type"]: row["Tokens"] > 0 for row in tokens} == {"input": True, "output": True}
    assert refusals == [{"Code": "moderation_blocked", "Calls": 1.0}]
    assert out == [{"Deployment": "gpt-image-1", "Out": 1.0}]
    lines = [row["Message"] for row in asked(OF_A_JOB.replace("<job id>", job))]
    assert all(job in line for line in lines)
    assert any("ended: succeeded" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "query"), [*ALERTS.items(), *WORKBOOK.items(), *((str(at), q) for at, q in enumerate([*PAGE, OF_A_JOB]))]
)
def test_every_query_names_columns_that_its_table_has(name: str, query: str) -> None:
    now = datetime.now(UTC)
    row = {column: "" for columns in kql.COLUMNS.values() for column in columns}
    row |= {"TimeGenerated": now, "Sum": 1.0, "Max": 1.0, "ItemCount": 1, "DurationMs": 1.0, "Properties": {}}
    filled = query.replace("MODEL_RETIRES", "2020-01-01")

    kql.run(filled, {table: [dict(row)] for table in kql.COLUMNS})


async def what_happens(app: httpx.AsyncClient, info: StackInfo) -> str:
    """One success whose event is late, a refusal, an answer that never came, and a deployment that refuses the app; the
    first one's job."""
    model = ModelControl(info.model)
    disturb_topic(info, count=1, status=500)
    answer = await generate(app)
    assert answer.status_code == 200
    model.fail({"name": "moderation_blocked"})
    await run(app)
    model.fail({"name": "bad_gateway"})
    await run(app)
    with QueueClient(info.queue, "image-requests-poison", credential=StaticCredential()) as poison:
        poison.send_message(json.dumps({"job_id": answer.headers["x-darkroom-job"]}))
    model.fail({"name": "permission_denied"})
    await generate(app)
    return answer.headers["x-darkroom-job"]


def complete(info: StackInfo) -> dict[str, list[kql.Row]] | None:
    """The tables of a workspace, once all is in them that `what_happens` leaves."""
    lines = telemetry.logs(info)
    runs = _RUN.findall(Path(info.directory, "logs", "host.log").read_text())
    if sum(" ended: " in line["body"] for line in lines) < 4 or "end_poisoned" not in {name for name, *_ in runs}:
        return None
    now = datetime.now(UTC)
    return {
        # On Azure the host relays the app's lines (SeverityLevel 1 is information), and counts its functions' runs.
        "AppTraces": [
            {
                "TimeGenerated": now,
                "Message": line["body"],
                "SeverityLevel": (line["severity"] - 1) // 4 - 1,
                "Properties": line["attributes"],
            }
            for line in lines
        ],
        "AppRequests": [
            {
                "TimeGenerated": now,
                "Name": name,
                "Success": how == "Succeeded",
                "ResultCode": "0",
                "DurationMs": float(milliseconds),
            }
            for name, how, milliseconds in runs
        ],
        "AppMetrics": [point for name in _metric_names(info) for point in _points(info, name, now)],
        "AppDependencies": [],
    }


def _metric_names(info: StackInfo) -> set[str]:
    return {point["name"] for point in telemetry.metrics(info)}


def _points(info: StackInfo, name: str, now: datetime) -> list[kql.Row]:
    """As the Azure Monitor exporter writes them: a histogram's count is the row's."""

    def row(point: dict[str, Any]) -> kql.Row:
        total = point["sum"] if point["kind"] == "histogram" else float(point["value"])
        count = point.get("count", 1)
        return {
            "TimeGenerated": now,
            "Name": name,
            "Sum": total,
            "Max": total,
            "Min": total,
            "ItemCount": count,
            "Properties": point["attributes"],
        }

    return [row(point) for point in telemetry.metrics(info, name=name)]
