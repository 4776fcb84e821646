"""The last fence of the HTTP doors, and that an answered request is forgotten."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from azure_functions_runtime.http_v2 import http_coordinator
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from functions import web
from shared.errors import DarkroomError


def request(invocation_id: str = "1") -> Request:
    return Request(
        {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-ms-invocation-id", invocation_id.encode())]}
    )


async def answered(response: Response) -> None:
    """Send the response the way the worker's server does; its background work is done then."""

    async def ignore(message: Any) -> None:
        del message

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await response({"type": "http", "method": "GET", "headers": []}, receive, ignore)


async def test_the_runtime_library_forgets_a_request_that_was_answered() -> None:
    @web.door
    async def fine(req: Request) -> Response:
        return PlainTextResponse("ok")

    http_coordinator.set_http_request("answered", request("answered"))
    http_coordinator.set_http_request("waiting", request("waiting"))
    await answered(await fine(request("answered")))

    assert set(http_coordinator._context_references) == {"waiting"}


async def test_an_unexpected_failure_is_a_500_of_ours_and_its_words_stay_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = "a secret " + "prompt"  # not in the source as such: a trace quotes the line that raised

    @web.door
    async def broken(req: Request) -> Response:
        raise ValueError(words)

    with caplog.at_level(logging.DEBUG):
        response = await broken(request())

    assert response.status_code == 500
    assert b"internal_error" in response.body
    assert "ValueError" in caplog.text
    assert words not in caplog.text


async def test_a_wait_is_told_in_both_headers() -> None:
    @web.door
    async def busy(req: Request) -> Response:
        raise DarkroomError("rate_limit_exceeded", "later", retry_after=1.25)

    response = await busy(request())

    assert (response.status_code, response.headers["retry-after-ms"], response.headers["retry-after"]) == (
        429,
        "1250",
        "2",
    )
