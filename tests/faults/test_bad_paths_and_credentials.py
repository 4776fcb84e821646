"""Ids that are none, other people's tokens, missing keys: nothing is found, nothing is shown."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.state import StackInfo
from shared.jobs.job import is_id
from tests.support.model_control import ModelControl
from tests.support.refusals import EDITS, GENERATIONS, GOOD, JOBS, error_of
from tests.support.storage import Storage
from tests.support.waiting import ended, eventually

GUARDED = [
    *[("POST", route) for route in (*GENERATIONS, *EDITS, JOBS)],
    ("GET", f"/api/jobs/{'0' * 26}"),
    ("GET", f"/api/images/{'0' * 26}/0"),
    ("GET", f"/api/images/{'0' * 26}/0/provenance"),
    ("GET", "/api/health/details"),
]
IDS = [
    "0" * 26,
    "z" * 26,
    "0" * 25,
    "A" * 26,
    "x" * 5_000,
    "..",
    "%2e%2e",
    "..%2f..%2frequests",
    "%252e%252e",
    "%00",
    "%0d%0aset-cookie:%20a=b",
    "%d0%b6" * 26,
    "\u0660" * 26,
    "'%20or%20'1'%20eq%20'1",
    "j:" + "0" * 24,
    "*",
]


@pytest.mark.parametrize(
    "shape", ["/api/jobs/{}", "/api/jobs/{}/poll?token=x", "/api/images/{}/0", "/api/images/{}/0/provenance"]
)
async def test_an_id_that_is_none_is_not_found(app_client: httpx.AsyncClient, shape: str) -> None:
    for wrong in IDS:
        answer = await app_client.get(shape.format(wrong))
        # A path that fits no route is the host's to refuse, in its own empty form.
        assert answer.status_code == 404, (wrong, answer.status_code, answer.text[:200])
        # A line feed matches no route of Microsoft's HTTP extension, which then answers by itself.
        if answer.content and "%0a" not in wrong:
            assert error_of(answer)["code"] == "not_found"
        assert "set-cookie" not in answer.headers


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(wrong=st.text(min_size=1, max_size=40).filter(lambda text: not is_id(text) and text.strip("./\\")))
def test_no_text_whatever_it_is_opens_a_job(stack: StackInfo, wrong: str) -> None:
    from urllib.parse import quote

    with httpx.Client(base_url=stack.app, headers={"x-functions-key": stack.key}, timeout=30) as client:
        for path in (f"/api/jobs/{quote(wrong, safe='')}", f"/api/images/{quote(wrong, safe='')}/0"):
            assert client.get(path).status_code == 404


async def test_an_image_index_that_is_none_is_not_found(app_client: httpx.AsyncClient) -> None:
    job = (await app_client.post(GENERATIONS[1], json=GOOD)).headers["x-darkroom-job"]
    await ended(app_client, job)
    assert (await app_client.get(f"/api/images/{job}/0")).status_code == 200
    for wrong in ("1", "-1", "00000", "0.json", "0.png", "%2e%2e", "\u0660", "1e0", "0%00", "9" * 400, "..%2f..%2fx"):
        answer = await app_client.get(f"/api/images/{job}/{wrong}")
        assert answer.status_code == 404, wrong
    assert (await app_client.get(f"/api/images/{job}/1/provenance")).status_code == 404


async def test_a_poll_token_opens_its_own_job_only(
    app_client: httpx.AsyncClient, stack: StackInfo, stack_storage: Storage
) -> None:
    first, second = [(await app_client.post(JOBS, json=GOOD)).headers["location"] for _ in range(2)]
    token = httpx.URL(first).params["token"]
    others = httpx.URL(second).copy_with(params={"token": token})
    async with httpx.AsyncClient(timeout=20) as anyone:
        assert (await anyone.get(first)).status_code in (200, 202)
        for url in (
            others,
            httpx.URL(first).copy_with(params={"token": token[:-1]}),
            httpx.URL(first).copy_with(params={"token": token + "A"}),
            httpx.URL(first).copy_with(params={"token": token.swapcase()}),
            httpx.URL(first).copy_with(params={"token": ""}),
            httpx.URL(first).copy_with(query=b""),
            httpx.URL(first).copy_with(query=b"token=%ff%fe"),
            httpx.URL(first).copy_with(query=b"token=%00" + b"x" * 4_000),
        ):
            answer = await anyone.get(url)
            assert error_of(answer, status=403)["code"] == "invalid_poll_token", url
            assert token not in answer.text
        twice = await anyone.get(httpx.URL(first).copy_with(query=f"token=x&token={token}".encode()))
        assert error_of(twice, status=400)["param"] == "token"
        for path in ("", "/events"):
            stripped = httpx.URL(first).copy_with(path=httpx.URL(first).path.removesuffix("/poll") + path)
            assert (await anyone.get(stripped)).status_code in (401, 404), "a poll token opens more than the poll"

        async def both_ended() -> bool:
            return all([(await anyone.get(url)).status_code == 200 for url in (first, second)])

        await eventually(both_ended, what="the end of both jobs")


@pytest.mark.parametrize(("method", "route"), GUARDED)
async def test_without_a_function_key_nothing_is_served(
    stack: StackInfo, stack_model: ModelControl, method: str, route: str
) -> None:
    async with httpx.AsyncClient(base_url=stack.app, timeout=20) as client:
        for headers in (
            {},
            {"x-functions-key": "wrong"},
            {"x-functions-key": stack.key[:-1]},
            {"x-functions-key": ""},
            {"authorization": f"Bearer {stack.key}"},
            {"api-key": stack.key},
            {"x-ms-client-principal-id": "somebody"},
        ):
            answer = await client.request(method, route, headers=headers, content=b"{}")
            assert (answer.status_code, answer.content) == (401, b""), headers
    assert stack_model.calls() == []


async def test_what_needs_no_key_says_nothing_of_anyone(stack: StackInfo) -> None:
    async with httpx.AsyncClient(base_url=stack.app, timeout=20) as client:
        assert (await client.get("/api/health")).text == "ok"
        assert (await client.get(f"/api/jobs/{'0' * 26}/poll?token=x")).status_code == 404


async def test_methods_and_routes_that_are_not_there_are_not_found(app_client: httpx.AsyncClient) -> None:
    for method, route in (
        ("PUT", GENERATIONS[1]),
        ("GET", GENERATIONS[1]),
        ("POST", "/openai/v1/images"),
        ("GET", "/"),
    ):
        assert (await app_client.request(method, route)).status_code in (200 if route == "/" else 404, 404)
