"""The host's front door: every HTTP request comes in here and is refused, answered or passed on.

In this order, as in Azure: the host's own doors (`/admin`, `/runtime/webhooks`), the route (404), the key (401), then
the worker by way of `proxy.py` (which refuses bodies over the limit with 413). The host's own refusals have empty
bodies (UnauthorizedResult and NotFoundResult in FunctionInvocationMiddleware.cs, Azure/azure-functions-host).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from local.host import blob_behaviour, eventgrid
from local.host.asgi import Receive, Scope, Send, respond
from local.host.blob_events import BlobEvents
from local.host.blobs import BlobTriggers
from local.host.keys import is_allowed, presented_key
from local.host.metadata import Function
from local.host.proxy import Proxy, Request
from local.host.routing import Router, normalise, request_target
from local.host.settings import HostSettings
from local.host.workers import Workers

_JSON = ((b"content-type", b"application/json; charset=utf-8"),)
_HTML = ((b"content-type", b"text/html; charset=utf-8"),)
WEBHOOKS = "/runtime/webhooks/"
_HOMEPAGE = b"<!doctype html><title>Functions</title><p>The Functions host is running.</p>"

type Trigger = Callable[[Function, str], None]
"""Starts a function in the background with the text it is given."""
type Deliver = Callable[[Function, dict[str, Any]], Awaitable[None]]
"""Runs an Event Grid function with one event."""


class Frontend:
    """The ASGI application that the host's server runs."""

    def __init__(
        self,
        functions: list[Function],
        workers: Workers,
        proxy: Proxy,
        settings: HostSettings,
        trigger: Trigger,
        deliver: Deliver,
        blobs: BlobTriggers | None = None,
        blob_events: BlobEvents | None = None,
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._router = Router(functions, settings.route_prefix)
        self._workers, self._proxy, self._settings = workers, proxy, settings
        self._trigger, self._deliver = trigger, deliver
        self._blobs, self._blob_events = blobs, blob_events
        self._started = time.monotonic()
        self.state = "Running"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = normalise(scope["raw_path"])
        first = path[1:].partition("/")[0].lower()
        if first == "admin":
            await self._admin(scope, receive, send, path.lower().split("/")[2:])
        elif path.lower() in (f"{WEBHOOKS}eventgrid", f"{WEBHOOKS}blobs"):
            await self._webhook(scope, receive, send, path.lower().removeprefix(WEBHOOKS))
        elif (found := self._router.find(scope["method"], path)) is not None:
            function, parameters = found
            if is_allowed(function.trigger.get("authLevel") or "function", _key(scope), self._settings.key):
                request = Request(scope, function, parameters, request_target(scope["raw_path"]))
                await self._proxy.forward(request, receive, send)
            else:
                await respond(send, 401)
        elif path == "":
            await respond(send, 200, _HOMEPAGE, _HTML) if self._settings.homepage else await respond(send, 204)
        else:
            await respond(send, 404)

    async def _admin(self, scope: Scope, receive: Receive, send: Send, path: list[str]) -> None:
        """`/admin/host/status` for anyone on this machine; the list and the starting of functions with the key."""
        method = scope["method"]
        if path == ["host", "status"] and method == "GET":
            await respond(send, 200, json.dumps(self._status()).encode(), _JSON)
        elif not is_allowed("admin", _key(scope), self._settings.key):
            await respond(send, 401)
        elif path == ["functions"] and method == "GET":
            await respond(send, 200, json.dumps(self._list()).encode(), _JSON)
        elif len(path) == 2 and path[0] == "functions" and method == "POST":
            await self._start(receive, send, path[1])
        elif path == ["_local", "blob-events"] and self._blob_events is not None:
            await self._misbehave(self._blob_events, method, receive, send)
        else:
            await respond(send, 404)

    def _status(self) -> dict[str, Any]:
        workers = [
            {"name": slot.label, "pid": slot.worker.pid if slot.worker else None, "running": slot.is_up}
            for slot in self._workers.slots
        ]
        return {
            "id": "local",
            "state": self.state,
            "processId": os.getpid(),
            "processUptime": int((time.monotonic() - self._started) * 1000),
            "workers": workers,
        }

    def _list(self) -> list[dict[str, Any]]:
        return [
            {"name": function.name, "config": {"bindings": list(function.bindings)}, "language": "python"}
            for function in self._functions.values()
        ]

    async def _start(self, receive: Receive, send: Send, name: str) -> None:
        """Start any function but an HTTP one with `{"input": "..."}`, as the admin API of Azure and Core Tools do."""
        function = self._functions.get(name)
        if function is None or function.kind == "httpTrigger":
            await respond(send, 404)
            return
        try:
            body = json.loads(await read_body(receive, self._settings.request_body_limit) or b"{}")
            text = body.get("input") or ""
        except (ValueError, AttributeError):
            await respond(send, 400)
            return
        self._trigger(function, text if isinstance(text, str) else json.dumps(text))
        await respond(send, 202)

    async def _misbehave(self, events: BlobEvents, method: str, receive: Receive, send: Send) -> None:
        """Show, set or reset how blob events are delivered."""
        if method not in ("GET", "PUT", "DELETE"):
            await respond(send, 405)
            return
        try:
            if method == "PUT":
                wanted = json.loads(await read_body(receive, self._settings.request_body_limit))
                events.behave(blob_behaviour.read_behaviour(wanted))
        except ValueError as error:
            await respond(send, 400, json.dumps({"error": str(error)}).encode(), _JSON)
            return
        if method == "DELETE":
            events.reset()
        await respond(send, 200, json.dumps(blob_behaviour.shown(events.behaviour, events.counters)).encode(), _JSON)

    async def _webhook(self, scope: Scope, receive: Receive, send: Send, extension: str) -> None:
        """The doors of Event Grid: `eventgrid` runs a function for each event, `blobs` queues a message for each."""
        if not is_allowed("admin", _key(scope), self._settings.key):
            await respond(send, 401)
            return
        query = {name.lower(): value for name, value in parse_qsl(scope["query_string"].decode("latin-1"))}
        deliver = self._receiver(extension, query.get("functionname", ""))
        if deliver is None:
            await respond(send, 404, b"cannot find function")
            return
        try:
            body = await read_body(receive, eventgrid.LARGEST_DELIVERY)
        except ValueError:
            await respond(send, 413)
            return
        reply = await eventgrid.receive(scope["method"], dict(scope["headers"]), body, deliver)
        await respond(send, reply.status, reply.body, reply.headers)

    def _receiver(self, extension: str, name: str) -> Callable[[eventgrid.Event], Awaitable[None]] | None:
        if extension == "blobs":
            # Whether there is such a function shows only when the message is taken: a wrong name is 202 in Azure too.
            return partial(self._blobs.announce, name) if self._blobs is not None else None
        function = self._functions.get(name.lower())
        if function is None or function.kind != "eventGridTrigger":
            return None
        return partial(self._deliver, function)


def _key(scope: Scope) -> str:
    return presented_key(scope["headers"], scope["query_string"])


async def read_body(receive: Receive, limit: int) -> bytes:
    """A small request body, whole; ValueError when it is over `limit` or the client leaves."""
    chunks, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ValueError("the client left")
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
        if sum(map(len, chunks)) > limit:
            raise ValueError("too large")
    return b"".join(chunks)
