"""Every action and the trigger of the connector, run by a client that reads only its definition."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.certificates import Certificates
from local.state import StackInfo
from tests.infra.test_connector import OPERATIONS
from tests.support.flow import Connection
from tests.support.model_control import ModelControl
from tests.support.peers import fetch
from tests.support.photographs import mask, photograph
from tests.support.receiver import receiving
from tests.support.waiting import eventually

PROMPT = "a lighthouse"
CONTENT = {"data": base64.b64encode(photograph()).decode()}
MASK = {"data": base64.b64encode(mask()).decode()}


@pytest.fixture
async def connection(stack: StackInfo) -> AsyncIterator[Connection]:
    async with Connection(stack.app, stack.key) as connection:
        yield connection


async def test_a_flow_waits_for_images_and_gets_links(connection: Connection, stack: StackInfo) -> None:
    status, made = await connection.run("Generate", prompt=PROMPT, quality="low", n=2, metadata={"order": "7"})
    _, edited = await connection.run("Edit", prompt="a red door", quality="low", images=[CONTENT], mask=MASK)

    links = [item["url"] for item in (*made["data"], *edited["data"])]
    assert (status, len(links)) == (200, 3)
    assert all(fetch(stack, "GET", link).content.startswith(b"\x89PNG") for link in links)


async def test_a_flow_waits_for_a_job_however_often_its_step_is_repeated(
    connection: Connection, model: ModelControl
) -> None:
    wanted = {"prompt": PROMPT, "quality": "low", "images": [CONTENT], "Idempotency-Key": "run-08584"}
    status, job = await connection.run("Submit", **wanted)
    _, again = await connection.run("Submit", **wanted)
    _, read = await connection.run("GetJob", id=job["id"])
    _, listed = await connection.run("ListJobs", status="succeeded", limit=100)

    assert (status, job["status"], job["kind"]) == (200, "succeeded", "edit")
    assert again["id"] == read["id"] == job["id"]
    assert job["id"] in [entry["id"] for entry in listed["data"]]
    assert len(model.calls()) == 1


async def test_a_flow_cancels_what_has_not_ended_and_removes_what_has(connection: Connection) -> None:
    _, job = await connection.run("Submit", prompt=PROMPT, quality="low")
    late, refused = await connection.run("CancelJob", id=job["id"])
    status, purged = await connection.run("CancelJob", id=job["id"], purge=True)

    assert (late, refused["error"]["code"]) == (409, "job_ended")
    assert (status, purged["images"]) == (200, [])


async def test_a_flow_asks_what_it_would_cost(connection: Connection, model: ModelControl) -> None:
    status, estimate = await connection.run("Estimate", prompt=PROMPT, quality="low", n=2)

    assert (status, estimate["tokens"]["output"]["expected"]) == (200, 544)
    assert float(estimate["cost"]["amount"]) > 0
    assert model.calls() == []


async def test_a_wrong_field_is_told_as_the_definition_says(connection: Connection) -> None:
    status, refused = await connection.run("Generate", prompt=PROMPT, size="7x7")

    assert (status, refused["error"]["param"]) == (400, "size")


async def test_a_flow_starts_when_a_job_ends_until_it_is_switched_off(
    connection: Connection, certificates: Certificates
) -> None:
    async with receiving(certificates) as receiver:
        _, (made, location) = await connection.run(
            "WhenAJobEnds", notify=f"{receiver.url}/run?sig=secret", statuses=["succeeded"]
        )
        _, job = await connection.run("Submit", prompt=PROMPT, quality="low")
        [told] = await eventually(lambda: list(receiver.requests), what="the start of the flow")
        off = await connection.delete(location)
        again = await connection.delete(location)

    content = json.loads(told.body)
    connection.check_notification("WhenAJobEnds", content)
    assert (content["type"], content["data"]["id"]) == ("Darkroom.Job.Succeeded", job["id"])
    assert told.target == "/run?sig=secret"
    assert made["secret"].startswith("whsec_")
    assert (off, again) == (204, 204)


def test_every_operation_is_run_here() -> None:
    tests = Path(__file__).read_text()

    assert OPERATIONS.keys() - {"Unsubscribe"} <= set(re.findall(r'\.run\(\s*"(\w+)"', tests))
