"""The app's HTTP functions, called in the test's process the way the runtime calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response


async def call(
    function: Any,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    path_params: Mapping[str, str] | None = None,
    query: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    leave: bool = False,
    gone: asyncio.Event | None = None,
) -> Response:
    """The response of `function` (a decorated function of a blueprint, or one of the app). With `leave` the caller goes
    after `body`, which is not the whole; else it stays until it is answered, or `gone` is set."""
    sent: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": leave},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        if len(sent) == 1 and not leave:
            await (gone or asyncio.Event()).wait()
        return sent.pop(0)

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": urlencode(query).encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "path_params": dict(path_params or {}),
    }
    response: Response = await getattr(function, "_function", function).get_user_function()(Request(scope, receive))
    return response


async def body_of(response: Response) -> bytes:
    """The whole body of `response`, sent as by the worker's server. Raises `ConnectionError` for one that is broken
    off: the server then closes the connection."""
    body, ended = bytearray(), False

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            body.extend(message.get("body", b""))
            ended = not message.get("more_body", False)

    response.background = None
    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    if not ended:
        raise ConnectionError("the answer was broken off")
    return bytes(body)
