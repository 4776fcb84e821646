"""Pages of other origins: what the local host lets them do, which is what the platform lets them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from local.host.asgi import Receive, Scope, Send, respond
from local.host.cors import CrossOrigin

PAGE = "http://localhost:5173"


def client(*origins: str) -> httpx.AsyncClient:
    """A client of an application that answers 401 with a header of its own, behind what is tested."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 401, scope["method"].encode(), ((b"x-own", b"1"),))

    transport = httpx.ASGITransport(CrossOrigin(application, origins))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://host")


def asking(origin: str, **headers: str) -> dict[str, str]:
    return {"origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}


async def test_a_preflight_of_an_allowed_origin_is_granted_what_it_asks_for() -> None:
    wanted = asking(PAGE, access_control_request_method="DELETE", access_control_request_headers="x-functions-key,a")
    async with client("https://example.com", PAGE) as http:
        answer = await http.options("/", headers=wanted)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "DELETE"
    assert answer.headers["access-control-allow-headers"] == "x-functions-key,a"


async def test_every_answer_to_an_allowed_origin_is_readable_refusals_too() -> None:
    async with client(PAGE) as http:
        answer = await http.get("/", headers=asking(PAGE.upper()))
    assert (answer.status_code, answer.headers["x-own"]) == (401, "1")
    assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (PAGE.upper(), "Origin")


@pytest.mark.parametrize("origin", ["https://example.org", f"{PAGE}.example.org", "null", f"{PAGE}/"])
async def test_another_origin_is_served_and_may_not_read(origin: str) -> None:
    async with client(PAGE) as http:
        answer = await http.get("/", headers=asking(origin))
        preflight = await http.options("/", headers=asking(origin, access_control_request_method="GET"))
    assert answer.status_code == 401
    assert preflight.status_code == 204
    assert not any(name.startswith("access-control") for name in (*answer.headers, *preflight.headers))


async def test_a_star_allows_any_origin() -> None:
    async with client("*") as http:
        answer = await http.get("/", headers=asking("https://example.org"))
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("origins", "headers"),
    [((), asking(PAGE, access_control_request_method="GET")), ((PAGE,), asking(PAGE)), ((PAGE,), {})],
)
async def test_what_is_no_preflight_reaches_the_app(origins: tuple[str, ...], headers: dict[str, Any]) -> None:
    async with client(*origins) as http:
        answer = await http.options("/", headers=headers)
    assert (answer.status_code, answer.content) == (401, b"OPTIONS")
