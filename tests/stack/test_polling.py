"""Flows of Logic Apps and Power Automate wait for a job by their own rules, and get its end as their output."""

from __future__ import annotations

import ssl

import httpx

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.polling import output, scaled
from tests.support.requests import PROMPT, job, submit
from tests.support.waiting import eventually


async def test_a_flow_gets_the_finished_job_as_its_output(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    model.behave(latency_seconds=1.0)

    done = await output(await submit(app_client))

    assert (done.status, done.body["status"], len(done.body["images"])) == (200, "succeeded", 1)
    assert len(done.asked) > 1, "it was polled while it ran"
    assert all(1 <= wait <= 60 for wait in done.waits)
    assert all(address.startswith(f"{stack.app}/api/jobs/{done.body['id']}/poll?token=") for address in done.asked)
    image = done.body["images"][0]
    async with httpx.AsyncClient(trust_env=False, verify=_trust(stack)) as stranger:
        assert len((await stranger.get(image["url"])).content) == image["bytes"], "its link needs no header either"


async def test_a_failed_job_is_an_output_with_its_reason_and_no_failed_action(app_client: httpx.AsyncClient) -> None:
    done = await output(await submit(app_client, prompt="[[content_filter_prompt]]"))

    assert (done.status, done.body["status"], done.body["error"]["code"]) == (200, "failed", "contentFilter")


async def test_a_canceled_job_is_an_output_too(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    model.behave(latency_seconds=1.0)
    first = await submit(app_client)
    canceled = False

    async def cancel_meanwhile(seconds: float) -> None:
        nonlocal canceled
        if not canceled:
            await eventually(model.calls, what="the call")
            answer = await app_client.delete(f"/api/jobs/{first.json()['id']}")
            canceled = answer.status_code == 200
        await scaled(seconds)

    done = await output(first, sleep=cancel_meanwhile)

    assert (done.status, done.body["status"]) == (200, "canceled")


async def test_a_flow_that_comes_back_after_a_purge_learns_that_the_job_succeeded(
    app_client: httpx.AsyncClient,
) -> None:
    first = await submit(app_client)
    ended = await output(first)
    answer = await app_client.delete(f"/api/jobs/{ended.body['id']}", params={"purge": "true"})

    again = await output(first)

    assert answer.status_code == 200
    assert (again.status, again.body["status"], again.body["images"]) == (200, "succeeded", [])
    assert (await job(app_client, ended.body["id"]))["purged_at"] == again.body["purged_at"]


async def test_a_flow_whose_address_was_changed_ends_with_a_refusal(app_client: httpx.AsyncClient) -> None:
    first, other = await submit(app_client), await submit(app_client)
    token = other.headers["location"].partition("token=")[2]
    changed = httpx.Response(
        202,
        headers={
            "location": first.headers["location"].partition("token=")[0] + f"token={token}",
            "retry-after": "1",
        },
    )

    done = await output(changed)

    assert (done.status, done.body["error"]["code"]) == (403, "invalid_poll_token")
    for each in (first, other):
        await output(each)


async def test_a_request_that_is_refused_is_the_output_at_once(app_client: httpx.AsyncClient) -> None:
    done = await output(await app_client.post("/api/jobs", json={"prompt": PROMPT, "size": "1x1"}))

    assert (done.status, done.asked) == (400, ())


def _trust(stack: StackInfo) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=stack.ca)
