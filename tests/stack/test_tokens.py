"""Credentials are tokens everywhere: each service is asked with its own, and no request leaves with a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import httpx

from local.certificates import Certificates
from local.identity import read_claims
from local.stack import Stack
from tests.support.model_control import ModelControl
from tests.support.peers import publishes, token_requests
from tests.support.photographs import mask, photograph
from tests.support.requests import generated, run
from tests.support.waiting import eventually
from tests.support.wiretap import Wiretap, tapped

STORAGE = "https://storage.azure.com"
MODEL = "https://cognitiveservices.azure.com"
EVENT_GRID = "https://eventgrid.azure.net"


async def test_every_service_is_asked_with_a_token_of_its_own_and_no_request_leaves_with_a_key(
    make_stack: Callable[..., Stack], certificates: Certificates
) -> None:
    taps: dict[str, Wiretap] = {}
    with ExitStack() as listening:

        def tap(environment: Mapping[str, str]) -> dict[str, str]:
            for service in ("blob", "queue", "table"):
                name = f"STORAGE__{service}ServiceUri"
                taps[name] = listening.enter_context(tapped(environment[name], certificates))
            return {name: each.url for name, each in taps.items()}

        info = make_stack(configure=tap).info
        assert info is not None
        async with httpx.AsyncClient(
            base_url=info.app, headers={"x-functions-key": info.key}, timeout=60, trust_env=False
        ) as app:
            await generated(app)
            edit = await app.post(
                "/openai/v1/images/edits",
                data={"prompt": "a boat", "quality": "low"},
                files={"image": photograph(), "mask": mask()},
            )
            assert edit.status_code == 200, edit.text
            assert (await run(app))["status"] == "succeeded"
            await eventually(lambda: len(publishes(info)) >= 3, what="the event of the last job")

    assert {entry["resource"] for entry in token_requests(info) if entry["status"] == 200} == {
        STORAGE,
        MODEL,
        EVENT_GRID,
    }
    for name, heard in taps.items():
        requests = heard.requests()
        assert requests, name
        for target, headers in requests:
            assert "sig=" not in target, name
            scheme, _, token = headers.get("authorization", "").partition(" ")
            assert (scheme, read_claims(token)["aud"]) == ("Bearer", STORAGE), f"{name}: {target}"
    calls = ModelControl(info.model).calls()
    assert [(call["auth"], call["audience"]) for call in calls] == [("bearer", MODEL)] * 3
    assert [entry["audience"] for entry in publishes(info)] == [EVENT_GRID] * 3
    assert {entry["status"] for entry in publishes(info)} == {200}
