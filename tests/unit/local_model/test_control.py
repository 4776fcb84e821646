"""The doors beside the service's own: what it took, and how it behaves."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from tests.unit.local_model.support import EDITS, GENERATIONS, KEY, PROMPT, first_bytes, part, png


async def calls(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/_local/calls")).json()
    return found


async def test_a_call_is_recorded_with_what_it_sent_and_what_it_got(client: httpx.AsyncClient) -> None:
    source = png(20, 10)
    headers = {"x-ms-client-request-id": "abc", "accept-encoding": "identity"}
    answer = await client.post(
        EDITS, data={**PROMPT, "n": "2"}, files=[part(source, filename="in.png")], headers=headers
    )
    [call] = await calls(client)
    assert (call["surface"], call["operation"], call["deployment"]) == ("dated", "edits", "gpt-image-1")
    assert (call["api_version"], call["auth"], call["audience"]) == ("2025-04-01-preview", "api-key", None)
    assert call["parameters"] == {**PROMPT, "n": "2"}
    assert call["files"] == [
        {
            "field": "image",
            "filename": "in.png",
            "content_type": "image/png",
            "bytes": len(source),
            "sha256": hashlib.sha256(source).hexdigest(),
        }
    ]
    assert (call["headers"]["x-ms-client-request-id"], call["headers"]["accept-encoding"]) == ("abc", "identity")
    assert (call["status"], call["outcome"], call["billed"], call["client_left"]) == (200, "ok", True, False)
    sent = [hashlib.sha256(first_bytes(answer, index)).hexdigest() for index in (0, 1)]
    assert [image["sha256"] for image in call["images"]] == sent
    assert call["bytes_sent"] == len(answer.content)
    assert call["usage"] == answer.json()["usage"]
    assert call["time"] <= call["finished"]


async def test_refused_calls_are_recorded_and_cost_nothing(client: httpx.AsyncClient) -> None:
    await client.post(GENERATIONS, json={"prompt": ""})
    [call] = await calls(client)
    assert (call["status"], call["code"], call["outcome"], call["billed"], call["images"]) == (
        400,
        "empty_string",
        "refused",
        False,
        [],
    )


async def test_no_credential_is_recorded(client: httpx.AsyncClient) -> None:
    await client.post(GENERATIONS, json=PROMPT, headers={"api-key": "very-secret"})
    assert "very-secret" not in (await client.get("/_local/calls")).text


async def test_deleting_the_calls_forgets_them_and_numbers_go_on(client: httpx.AsyncClient) -> None:
    await client.post(GENERATIONS, json={})
    assert (await client.delete("/_local/calls")).status_code == 204
    await client.post(GENERATIONS, json={})
    assert [call["sequence"] for call in await calls(client)] == [2]


@pytest.mark.parametrize(
    ("behaviour", "named"),
    [
        ({"speed": 1}, "speed"),
        ({"rpm": "nine"}, "rpm"),
        ({"rpm": -1}, "rpm"),
        ({"gzip": 1}, "gzip"),
        ({"latency_seconds": True}, "latency_seconds"),
        ({"eku": "none"}, "eku"),
        ({"transfer": "pigeon"}, "transfer"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"window": 0}, "window"),
        ({"faults": {}}, "faults"),
        ({"faults": ["x"]}, "fault"),
        ({"faults": [{"explode": True}]}, "explode"),
        ({"faults": [{"name": "no_such_row"}]}, "no_such_row"),
        ({"faults": [{"stream_error": "no_such_row"}]}, "no_such_row"),
        ({"faults": [{"match": {"colour": "red"}}]}, "colour"),
        ({"faults": [{"status": 99}]}, "status"),
        ({"faults": [{"times": 0}]}, "times"),
        ({"faults": [{"image_bytes_b64": "***"}]}, "image_bytes_b64"),
        ([], "object"),
    ],
    ids=str,
)
async def test_an_unknown_or_wrong_knob_is_a_400_that_names_it_and_changes_nothing(
    client: httpx.AsyncClient, behaviour: Any, named: str
) -> None:
    before = (await client.get("/_local/behaviour")).json()
    answer = await client.put("/_local/behaviour", json=behaviour)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]
    assert (await client.get("/_local/behaviour")).json() == before


async def test_a_behaviour_that_is_no_json_is_a_400(client: httpx.AsyncClient) -> None:
    assert (await client.put("/_local/behaviour", content=b"{")).status_code == 400


async def test_knobs_stay_and_merge_until_they_are_reset(client: httpx.AsyncClient) -> None:
    original = (await client.get("/_local/behaviour")).json()
    await client.put("/_local/behaviour", json={"rpm": 30})
    both = (await client.put("/_local/behaviour", json={"window": 1, "faults": [{"status": 500}]})).json()
    assert (both["rpm"], both["window"], both["faults"]) == (30, 1, [{"status": 500}])
    assert (await client.delete("/_local/behaviour")).json() == original


async def test_faults_are_used_up_one_a_call_in_their_order(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"faults": [{"status": 500}, {"status": 503, "times": 2}]})
    answers = [(await client.post(GENERATIONS, json=PROMPT)).status_code for _ in range(4)]
    assert answers == [500, 503, 503, 200]


async def test_a_fault_waits_for_the_call_it_matches(client: httpx.AsyncClient) -> None:
    faults = [
        {"status": 500, "match": {"operation": "edits"}},
        {"status": 503, "match": {"deployment": "mini", "surface": "dated"}},
    ]
    await client.put("/_local/behaviour", json={"faults": faults})
    generation = await client.post(GENERATIONS, json=PROMPT)
    edit = await client.post(EDITS, data=PROMPT, files=[part(png())])
    mini = await client.post(GENERATIONS.replace("gpt-image-1", "mini"), json=PROMPT)
    assert [answer.status_code for answer in (generation, edit, mini)] == [200, 500, 503]
    assert (await client.get("/_local/behaviour")).json()["faults"] == []


async def test_calls_refused_by_the_limiter_use_up_no_fault(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"rpm": 1, "faults": [{"status": 500, "times": 2}]})
    answers = [(await client.post(GENERATIONS, json=PROMPT)).status_code for _ in range(2)]
    assert answers == [500, 429]
    assert (await client.get("/_local/behaviour")).json()["faults"] == [{"status": 500}]


async def test_calls_under_way_are_listed_and_run_side_by_side(client: httpx.AsyncClient) -> None:
    await client.put("/_local/behaviour", json={"latency_seconds": 1})
    running = [asyncio.create_task(client.post(GENERATIONS, json=PROMPT)) for _ in range(3)]
    under_way = (await client.get("/_local/calls?taken=3")).json()
    assert [call["outcome"] for call in under_way] == ["running"] * 3
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200, 200]


async def test_control_needs_no_credential_and_health_lists_the_deployments(client: httpx.AsyncClient) -> None:
    for name in KEY:
        del client.headers[name]
    health = (await client.get("/_local/health")).json()
    assert health["status"] == "ok"
    assert health["deployments"]["mini"] == "gpt-image-1-mini"
