"""Nothing in the logs, nor in traces and metrics, opens a door or repeats a prompt, whatever the app went through: here
with the most talkative of settings. What all other tests made the app log is searched too, when the last of them has
run (`run_logs` in tests/conftest.py)."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from pathlib import Path

import httpx

from local.stack import Stack
from local.state import StackInfo
from tests.support import telemetry
from tests.support.model_control import ModelControl
from tests.support.peers import disturb_topic, fetch
from tests.support.photographs import mask, photograph
from tests.support.requests import generate, generated, polled_to_its_end, run, submit
from tests.support.run_logs import CREDENTIALS
from tests.support.waiting import eventually

SECRET = "tangerine"  # of the prompts, and of nothing else in the stack


async def test_even_the_most_talkative_logs_hold_no_prompt_and_no_credential(make_stack: Callable[..., Stack]) -> None:
    talkative = {"AzureFunctionsJobHost__logging__logLevel__default": "Debug", "LOCAL_TELEMETRY": "1"}
    info = make_stack(environ=talkative).info
    assert info is not None
    headers = {"x-functions-key": info.key}
    async with httpx.AsyncClient(base_url=info.app, headers=headers, timeout=60, trust_env=False) as app:
        seen = await everything(app, info)

    def told() -> bool:
        return len(telemetry.spans(info, name="run")) == read_log(info).count(" ended: ") > 0

    await eventually(told, within=30, what="every run's span")
    sent = telemetry.everything(info)
    assert "moderation_blocked" in sent
    assert "image_generations_v1" in sent
    text = read_log(info) + sent
    assert "image_generations_v1" in text
    assert "moderation_blocked" in text
    assert SECRET not in text
    assert info.key not in text
    assert info.identity_header not in text
    for secret in seen:
        assert secret not in text
    for what, pattern in CREDENTIALS.items():
        assert pattern.search(text) is None, what


def read_log(info: StackInfo) -> str:
    """What the host wrote, and the app in it."""
    return Path(info.directory, "logs", "host.log").read_text()


async def everything(app: httpx.AsyncClient, info: StackInfo) -> list[str]:
    """What users do and what goes wrong for them; the secrets they were given by it."""
    model = ModelControl(info.model)
    prompt = f"a {SECRET} lamp"
    document = await generated(app, prompt=prompt, metadata={SECRET: SECRET}, user=SECRET)
    link = document["images"][0]["url"]
    fetch(info, "GET", link)
    await app.get(f"/api/images/{document['id']}/0")
    edit = {"prompt": prompt, "quality": "low"}
    await app.post("/openai/v1/images/edits", data=edit, files={"image": photograph(), "mask": mask()})
    await app.post("/openai/v1/images/edits", data=edit, files={"image": photograph(), "mask": mask(side=32)})
    await run(app, prompt=prompt, images=[{"data": base64.b64encode(photograph()).decode()}])
    await generate(app, prompt=prompt, stream=True, partial_images=1)
    followed = (await submit(app, prompt=prompt, stream=True, partial_images=1)).json()["id"]
    await app.get(f"/api/jobs/{followed}/events")
    await app.get(f"/api/jobs/{followed}/events", headers={"last-event-id": SECRET})
    location = (await submit(app, prompt=prompt)).headers["location"]
    await polled_to_its_end(location)
    fetch(info, "GET", location.replace("token=", "token=x"))
    fetch(info, "GET", f"{info.app}/api/jobs/{document['id']}?code=wrong-{SECRET}")
    for fault in ({"name": "moderation_blocked"}, {"name": "bad_gateway"}, {"broken_json": True}, {"status": 418}):
        for streamed in ({}, {"stream": True, "partial_images": 1}):
            model.fail(fault)
            with contextlib.suppress(httpx.RemoteProtocolError):  # what began to pass on and broke is broken off
                await generate(app, prompt=prompt, **streamed)
        model.fail(fault)
        await run(app, prompt=prompt)
    await generate(app, prompt=prompt, size=SECRET)
    await generate(app, prompt=prompt, **{SECRET: 1})
    await app.post(
        "/openai/v1/images/generations", content=f'{{"prompt": "{SECRET}', headers={"content-type": "text/x"}
    )
    disturb_topic(info, count=2, status=500)
    await generated(app, prompt=prompt)
    return [link.partition("sig=")[2], location.partition("token=")[2]]
