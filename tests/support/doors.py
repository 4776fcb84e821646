"""The app's HTTP functions, called in the test's process the way the runtime calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


async def call(
    function: Any,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    path_params: Mapping[str, str] | None = None,
    leave: bool = False,
) -> Response:
    """The response of `function` (a decorated function of a blueprint). With `leave` the caller goes after `body`."""
    sent = [{"type": "http.request", "body": body, "more_body": leave}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return sent.pop(0)

    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "path_params": dict(path_params or {}),
    }
    response: Response = await function._function.get_user_function()(Request(scope, receive))
    return response
