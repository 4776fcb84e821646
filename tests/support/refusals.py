"""Holding the answers to wrong requests against what design section 3 promises of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.model_control import ModelControl
from tests.support.storage import Storage
from tests.support.waiting import eventually

GENERATIONS = ("/openai/deployments/gpt-image-1/images/generations", "/openai/v1/images/generations")
EDITS = ("/openai/deployments/gpt-image-1/images/edits", "/openai/v1/images/edits")
JOBS = "/api/jobs"
GOOD = {"prompt": "a lighthouse", "quality": "low"}
_TRACES = ("Traceback", 'File "', "Exception", "Error:")


def error_of(answer: httpx.Response, *, status: int | None = None) -> dict[str, Any]:
    """The `error` member of a 4xx in the shape of the images API."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:500])
    assert status is None or answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"].startswith("application/json"), answer.text[:200]
    body = answer.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["code"], str)
    assert len(answer.content) < 5_000, "an error repeats what was sent"
    assert not any(trace in answer.text for trace in _TRACES), answer.text[:500]
    return error


@asynccontextmanager
async def leaves_nothing(client: httpx.AsyncClient, model: ModelControl, storage: Storage) -> AsyncIterator[None]:
    """What happens inside calls no model, stores no blob and makes no job; the next good request works."""
    # An answer passes on before its job is stored and told: that of the test before may still be at it.
    await eventually(lambda: not _at_work(storage), within=60, what="the end of the jobs before")
    before, called = _kept(storage), len(model.calls())
    yield
    assert model.calls()[called:] == []
    assert _kept(storage) == before
    answer = await client.post(GENERATIONS[1], json=GOOD)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.json()["data"][0]["b64_json"]
    job = answer.headers["x-darkroom-job"]
    # It is stored and told while its answer passes on: the next test is to find storage at rest.
    await eventually(lambda: not _at_work(storage, job), what="the end of the good request's job")


def _at_work(storage: Storage, job: str = "") -> list[str]:
    """The rows of a job, or of all, that lives, or whose end is still to be told."""
    keys = [str(row["RowKey"]) for row in storage.rows("jobs")]
    return [key for key in keys if job in key and key.startswith(("l:", "o:"))]


def _kept(storage: Storage) -> tuple[list[str], list[str], int]:
    return storage.blobs("results"), storage.blobs("requests"), len(storage.rows("jobs"))
