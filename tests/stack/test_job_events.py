"""Following a job through the whole stack: submitted on one connection, followed on others that are cut."""

from __future__ import annotations

import random

import httpx

from local.state import StackInfo
from tests.support.event_source import EventSource
from tests.support.model_control import ModelControl
from tests.support.requests import job, submit

LONG = 5.0
"""Seconds until the model answers: a page that looks at a job about once a second finds it running."""
SLOW = 2_000_000.0
"""Bytes a second of the model's answer: partial images come one by one."""


async def connection(app: httpx.AsyncClient, job_id: str, source: EventSource, cut: random.Random | None = None) -> int:
    """Listen until the answer ends, or, with `cut`, until the connection breaks somewhere in what came; the status."""
    address, headers = f"/api/jobs/{job_id}/events", source.reconnect()
    async with app.stream("GET", address, headers=headers) as answer:
        async for chunk in answer.aiter_raw():
            breaks = cut is not None and cut.random() < 0.4
            source.feed(chunk[: cut.randrange(len(chunk))] if cut and breaks else chunk)
            if breaks:
                break
        return answer.status_code


async def test_a_page_whose_connection_breaks_again_and_again_sees_each_event_once(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    ModelControl(stack.model).behave(latency_seconds=LONG, bytes_per_second=SLOW)
    submitted = (await submit(app_client, stream=True, partial_images=3)).json()["id"]
    page, dice = EventSource(), random.Random(submitted)
    connections = 0
    while not page.messages or page.messages[-1].id != "end":
        await connection(app_client, submitted, page, dice)
        connections += 1
    whole = EventSource()
    await connection(app_client, submitted, whole)

    assert [(message.type, message.id) for message in page.messages] == [
        (message.type, message.id) for message in whole.messages
    ]
    assert [message.type for message in page.messages] == [
        "job.running",
        *["image_generation.partial_image"] * 3,
        "image_generation.completed",
        "job.succeeded",
    ]
    assert page.messages[0].data["status"] == "running", "it was followed while it ran"
    assert page.messages[-1].data["images"][0]["sha256"] == (await job(app_client, submitted))["images"][0]["sha256"]
    assert connections > 1
    assert await connection(app_client, submitted, page) == 204
    async with httpx.AsyncClient(trust_env=True) as stranger:
        for message in page.messages[1:-1]:
            image = await stranger.get(message.data["url"])
            assert (image.status_code, image.headers["content-type"], len(image.content)) == (
                200,
                "image/png",
                message.data["bytes"],
            )
