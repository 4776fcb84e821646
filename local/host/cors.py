"""Cross-origin requests, as the platform answers them in front of the host; `host.py` puts the frontend behind it.

Which origins are allowed is `CORS_ORIGINS`, the setting that deploys them too. A preflight is answered here and reaches
no function; any other request passes, and its answer is readable by pages of those origins. As in Azure, headers of
answers are shown to them only where the app itself exposes them, and cookies do not come along.

Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from local.host.asgi import Receive, Scope, Send, respond

type Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class CrossOrigin:
    """An ASGI application: `application`, for pages of `origins` too. `*` among them allows any."""

    def __init__(self, application: Application, origins: Collection[str]) -> None:
        self._application = application
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = dict(scope["headers"])
        allowed = self._allowed(headers.get(b"origin", b""))
        asked = headers.get(b"access-control-request-method")
        if self._origins and asked is not None and scope["method"] == "OPTIONS":
            named = headers.get(b"access-control-request-headers", b"")
            granted = ((b"access-control-allow-methods", asked), (b"access-control-allow-headers", named))
            await respond(send, 204, headers=(*allowed, *granted) if allowed else ())
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *allowed]
            await send(message)

        await self._application(scope, receive, answer if allowed else send)

    def _allowed(self, origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that let a page of `origin` read an answer; none where it may not."""
        if not origin:
            return ()
        if "*" in self._origins:
            return ((b"access-control-allow-origin", b"*"),)
        if origin.decode("latin-1").lower() in self._origins:
            return ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))
        return ()
