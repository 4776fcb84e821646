"""What operators see: one trace for each request, metrics of what it took and cost, log lines that name their job."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from local.stack import Stack
from local.state import StackInfo
from tests.support import pages, telemetry
from tests.support.model_control import ModelControl
from tests.support.pages import like_the_project
from tests.support.peers import events
from tests.support.photographs import mask, photograph
from tests.support.requests import generate, polled_to_its_end, run
from tests.support.waiting import eventually

LAST = "publish event"
"""The span that ends last in a job's trace, but for those above it."""


def client(info: StackInfo) -> httpx.AsyncClient:
    headers = {"x-functions-key": info.key}
    return httpx.AsyncClient(base_url=info.app, headers=headers, timeout=60, trust_env=False)


async def told_trace(info: StackInfo, job: str) -> str:
    """The trace that the job's event names; the event comes a moment after the end."""
    [event] = await eventually(lambda: events(info, job), what="the job's event")
    named: str = event["traceparent"]
    return named.split("-")[1]


async def trace_of(info: StackInfo, job: str, names: set[str]) -> list[dict[str, Any]]:
    """The spans of the trace that the job's event names, once those of these names are there."""
    trace = await told_trace(info, job)

    async def whole() -> list[dict[str, Any]] | None:
        found = telemetry.spans(info, trace=trace)
        return found if names <= {span["name"] for span in found} else None

    found: list[dict[str, Any]] = await eventually(whole, within=30, what="the spans of the trace")
    return found


async def test_what_is_seen_of_requests(
    make_stack: Callable[..., Stack], tmp_path: Path, quiet_environment: dict[str, str]
) -> None:
    """One stack for all of it: starting one takes seconds."""
    info = make_stack(environ={"LOCAL_TELEMETRY": "1"}).info
    assert info is not None
    async with client(info) as app:
        await a_request_through_the_queue_is_one_connected_trace(app, info)
        await a_synchronous_request_is_one_connected_trace(app, info)
        await jobs_of_a_batch_have_traces_of_their_own_linked_to_its_request(app, info)
        await metrics_say_what_happened(app, info)
        await log_lines_name_their_job_and_trace(app, info)
        await what_is_derived_is_told_beneath_what_is_stored(app, info)
        await the_commands_of_the_page_show_it(app, like_the_project(tmp_path, info), quiet_environment)


async def a_request_through_the_queue_is_one_connected_trace(app: httpx.AsyncClient, info: StackInfo) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    answer = await app.post(
        "/api/jobs", json={"prompt": "a pier", "quality": "low"}, headers={"traceparent": f"00-{trace}-{caller}-01"}
    )
    job = await polled_to_its_end(answer.headers["location"])

    found = await trace_of(info, job["id"], {"submit_job", "run", LAST})
    names = {span["span_id"]: span["name"] for span in found}
    above = {span["name"]: names.get(span["parent_id"], span["parent_id"]) for span in found}
    assert above == {
        "submit_job": caller,
        "accept": "submit_job",
        "run": "accept",
        "wait for slot": "run",
        "generate_content gpt-image-1": "run",
        "wait for answer": "generate_content gpt-image-1",
        "decode": "generate_content gpt-image-1",
        "store": "run",
        "publish event": "accept",
    }
    assert {span["trace_id"] for span in found} == {trace}
    [linked] = [span["links"] for span in found if span["name"] == "run"]
    assert len(linked) == 1  # the host's own trace of the queue function
    assert linked[0]["trace_id"] != trace
    [call] = [span for span in found if span["kind"] == "CLIENT"]
    assert call["attributes"] == {
        "darkroom.job": job["id"],
        "darkroom.deployment": "gpt-image-1",
        "darkroom.call": 1,
        "darkroom.size": "1024x1024",
        "darkroom.quality": "low",
        "darkroom.images_in": 0,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.output.type": "image",
        "gen_ai.request.model": "gpt-image-1",
        "gen_ai.request.choice.count": 1,
        "gen_ai.usage.input_tokens": job["usage"]["input_tokens"],
        "gen_ai.usage.output_tokens": job["usage"]["output_tokens"],
        "server.address": "127.0.0.1",
        **({"cloud.region": job["region"]} if job["region"] else {}),
    }


async def a_synchronous_request_is_one_connected_trace(app: httpx.AsyncClient, info: StackInfo) -> None:
    answer = await generate(app)

    found = await trace_of(info, answer.headers["x-darkroom-job"], {"image_generations_v1", "run", LAST})
    ids = {span["span_id"] for span in found}
    assert [span["name"] for span in found if span["parent_id"] not in ids] == ["image_generations_v1"]
    assert {"accept", "store", "decode"} <= {span["name"] for span in found}


async def jobs_of_a_batch_have_traces_of_their_own_linked_to_its_request(
    app: httpx.AsyncClient, info: StackInfo
) -> None:
    wanted = [{"prompt": f"boat {number}", "quality": "low"} for number in range(2)]
    batch = (await app.post("/api/batches", json=wanted)).json()

    async def ended() -> list[dict[str, Any]] | None:
        jobs = (await app.get("/api/jobs", params={"batch": batch["id"]})).json()["data"]
        return jobs if len(jobs) == 2 and all(events(info, job["id"]) for job in jobs) else None

    jobs = await eventually(ended, within=60, what="the events of the batch's jobs")
    [submitted] = await eventually(
        lambda: telemetry.spans(info, name="submit_batch"), within=30, what="the request's span"
    )
    traces = [await trace_of(info, job["id"], {"accept", "run", LAST}) for job in jobs]
    assert len({trace[0]["trace_id"] for trace in traces} | {submitted["trace_id"]}) == 3
    for trace in traces:
        [root] = [span for span in trace if span["parent_id"] is None]
        assert root["name"] == "accept"
        assert root["links"] == [{"trace_id": submitted["trace_id"], "span_id": submitted["span_id"]}]


async def metrics_say_what_happened(app: httpx.AsyncClient, info: StackInfo) -> None:
    model = ModelControl(info.model)
    model.fail({"name": "moderation_blocked"})
    refused = await run(app)
    assert refused["status"] == "failed"

    async def counted() -> bool:
        return telemetry.total(info, "darkroom.jobs.ended") == 5

    await eventually(counted, within=30, what="the end of five jobs in the metrics")
    total, jobs = telemetry.total, await listed(app)
    assert total(info, "darkroom.jobs.ended", status="succeeded", door="http") == 1
    assert total(info, "darkroom.jobs.ended", status="succeeded", door="jobs") == 1
    assert total(info, "darkroom.jobs.ended", status="succeeded", door="batch") == 2
    assert total(info, "darkroom.jobs.ended", status="failed", code=refused["error"]["code"]) == 1
    assert total(info, "darkroom.refusals", code=refused["error"]["code"]) == 1
    assert total(info, "darkroom.queue.wait") == 4
    assert total(info, "darkroom.pacing.wait", deployment="gpt-image-1") == 5
    assert total(info, "darkroom.model.duration") == 5
    assert total(info, "darkroom.decode.duration", outcome="ok") == 4
    assert total(info, "darkroom.store.duration") == 4
    assert total(info, "darkroom.model.calls", outcome="ok") == 4
    assert total(info, "darkroom.tokens", type="output") == sum(job["usage"]["output_tokens"] for job in jobs)
    assert total(info, "darkroom.tokens", type="input") == sum(job["usage"]["input_tokens"] for job in jobs)
    paid = sum(Decimal(job["cost"]["amount"]) for job in jobs)
    assert abs(total(info, "darkroom.cost", certainty="billed") - float(paid)) < 1e-9


async def listed(app: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The documents of the jobs that succeeded."""
    jobs = (await app.get("/api/jobs", params={"status": "succeeded"})).json()["data"]
    return [(await app.get(f"/api/jobs/{job['id']}")).json() for job in jobs]


async def log_lines_name_their_job_and_trace(app: httpx.AsyncClient, info: StackInfo) -> None:
    job = await run(app)
    trace = await told_trace(info, job["id"])

    async def said() -> list[dict[str, Any]]:
        return [line for line in telemetry.logs(info, job=job["id"]) if "ended: succeeded" in line["body"]]

    [line] = await eventually(said, within=30, what="the line of the job's end")
    assert line["trace_id"] == trace
    assert line["severity_text"] == "INFO"


async def what_is_derived_is_told_beneath_what_is_stored(app: httpx.AsyncClient, info: StackInfo) -> None:
    image, kept = ({"data": base64.b64encode(content).decode()} for content in (photograph(), mask()))
    job = await run(app, images=[image], mask=kept, preserve="exact")
    assert job["status"] == "succeeded", job["error"]

    found = await trace_of(info, job["id"], {"store", "derive"})
    names = {span["span_id"]: span["name"] for span in found}
    assert [names[span["parent_id"]] for span in found if span["name"] == "derive"] == ["store"]


async def the_commands_of_the_page_show_it(app: httpx.AsyncClient, folder: Path, environment: dict[str, str]) -> None:
    look, receiver, *_ = pages.examples("docs/local.md", "sh")
    [trace] = re.findall(r"trace=(\w+)", receiver)
    asked = {"prompt": "A harbour at dusk", "quality": "low"}
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    submitted = await app.post("/api/jobs", json=asked, headers=headers)
    job = await polled_to_its_end(submitted.headers["location"])
    commands = f"{look.splitlines()[0]}\n{receiver}".replace("<id>", job["id"])

    async def shown() -> list[list[dict[str, Any]]] | None:
        said = pages.run(["/bin/sh", "-euc", commands.replace("curl", "echo; curl")], folder, environment)
        found = [next(iter(json.loads(line).values())) for line in said.splitlines() if line]
        return found if all(found) else None

    spans, metrics, logs = await eventually(shown, within=30, what="what the commands show")
    assert {span["trace_id"] for span in spans} == {trace}
    assert {point["name"] for point in metrics} == {"darkroom.cost"}
    assert any("ended: succeeded" in line["body"] for line in logs)
