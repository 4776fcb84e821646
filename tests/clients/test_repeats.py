"""The `openai` clients repeat a POST that broke off; whoever pays for it pays once."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import httpx
import openai
import pytest

from local.state import StackInfo
from tests.clients.conftest import DEPLOYMENT, Client, make_client, settled
from tests.support.model_control import ModelControl
from tests.support.photographs import mask, photograph
from tests.support.storage import Storage
from tests.support.waiting import eventually

PROMPT = "A quiet harbour"


def generate(client: Client, **more: Any) -> Any:
    """A generation, in a thread where the client would block."""

    def ask() -> Any:
        return client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low", **more)

    return asyncio.to_thread(ask) if isinstance(client, openai.OpenAI) else ask()


def kill_workers(stack: StackInfo) -> None:
    status = httpx.get(f"{stack.app}/admin/host/status", trust_env=False, timeout=10).json()
    for worker in status["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)


@pytest.mark.parametrize("kind", ["AzureOpenAI", "AsyncOpenAI"])
async def test_a_worker_killed_after_the_call_was_sent_costs_one_call_and_the_client_learns_it(
    kind: str, stack: StackInfo, model: ModelControl
) -> None:
    storage = Storage(stack.blob, stack.table)
    before = storage.live_jobs()
    client = make_client(kind, stack)
    model.fail({"hang_seconds": 60})
    asking = asyncio.ensure_future(generate(client))
    await eventually(lambda: any(call["fault"] for call in model.calls()), what="the call at the model")
    kill_workers(stack)
    (job,) = storage.live_jobs() - before
    storage.end_lease(job)
    with pytest.raises(openai.InternalServerError) as caught:
        await asyncio.wait_for(asking, 60)
    await settled(client.close())

    error = caught.value
    assert (error.status_code, error.code) == (502, "outcome_unknown")
    assert isinstance(error.body, dict)
    assert error.body["inner_error"] == {"code": "runner_died"}
    assert (error.response.headers["x-darkroom-job"], error.response.headers["x-should-retry"]) == (job, "false")
    assert error.response.headers["idempotency-replayed"] == "true"
    assert error.response.request.headers["x-stainless-retry-count"] != "0", "it did repeat"
    assert len(model.calls()) == 1
    assert storage.outcomes(job) == ["unknown"]


async def test_a_client_that_gave_up_too_soon_gets_the_image_it_paid_for(stack: StackInfo, model: ModelControl) -> None:
    client = make_client("AsyncOpenAI", stack, timeout=4.0, max_retries=1)
    model.behave(latency_seconds=5.0)
    answer = await generate(client)
    await settled(client.close())

    assert answer.data[0].b64_json
    assert len(model.calls()) == 1


async def test_an_idempotency_key_is_a_header_like_any_other_to_the_client(
    either_client: Client, model: ModelControl
) -> None:
    async def edit(prompt: str = PROMPT) -> Any:
        return await settled(
            either_client.images.edit(
                model=DEPLOYMENT,
                image=[photograph(), photograph(shade=120)],
                mask=mask(),
                prompt=prompt,
                quality="low",
                extra_headers={"Idempotency-Key": f"order-{id(either_client)}"},
            )
        )

    first, second = await edit(), await edit()
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await edit("Another harbour")

    assert first.data[0].b64_json == second.data[0].b64_json
    assert caught.value.code == "idempotency_key_reused"
    assert len(model.calls()) == 1
