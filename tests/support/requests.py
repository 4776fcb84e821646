"""What users send to the app, in as few words as a test has room for."""

from __future__ import annotations

from typing import Any

import httpx

from local.state import StackInfo
from tests.support.waiting import ended, eventually

PROMPT = "A small harbour in the morning"
GENERATIONS = "/openai/v1/images/generations"


async def generate(app: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    """The synchronous answer to a generation, whatever it is."""
    return await app.post(GENERATIONS, json={"prompt": PROMPT, "quality": "low", **fields})


async def generated(app: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The job document of a generation that was answered synchronously and well."""
    answer = await generate(app, **fields)
    assert answer.status_code == 200, answer.text
    return await job(app, answer.headers["x-darkroom-job"])


async def job(app: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The job document at the job's end, read with the function key."""
    (document,) = await ended(app, job_id)
    return document


def waited_for(stack: StackInfo, **fields: Any) -> dict[str, Any]:
    """The document of an ended job, for a fixture that is no coroutine."""
    headers = {"x-functions-key": stack.key, "prefer": "wait=60"}
    with httpx.Client(base_url=stack.app, headers=headers, timeout=70, trust_env=False) as app:
        answer = app.post("/api/jobs", json={"prompt": PROMPT, "quality": "low", **fields})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def submit(app: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    """The 202 of a job that was submitted as JSON."""
    answer = await app.post("/api/jobs", json={"prompt": PROMPT, "quality": "low", **fields})
    assert answer.status_code == 202, answer.text
    return answer


async def polled_to_its_end(location: str) -> dict[str, Any]:
    """The job document that the poll URL gives in the end, asked for as Power Automate does: without any header of its
    own."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as stranger:

        async def output() -> dict[str, Any] | None:
            answer = await stranger.get(location)
            if answer.status_code == 202:
                assert answer.headers["location"] == location
                return None
            assert answer.status_code == 200, answer.text
            document: dict[str, Any] = answer.json()
            return document

        document: dict[str, Any] = await eventually(output, within=60, what="the end of the job")
        return document


async def run(app: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The job document of an asynchronous job, once it has ended."""
    return await polled_to_its_end((await submit(app, **fields)).headers["location"])
