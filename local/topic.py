"""An Event Grid custom topic on this machine (input schema CloudEvents 1.0, local auth off).

Publishers come in by `POST /api/events` over https with a bearer token for Event Grid, as `azure-eventgrid` does;
subscribers by `POST /_local/subscriptions`. What was published is kept for tests and people:

- `GET /_local/events?subject=&type=&id=` the events taken, newest last; `DELETE` forgets them
- `GET /_local/publishes` every publish request, with its status, token audience and mode; `DELETE` as above
- `GET|POST /_local/subscriptions`, `DELETE /_local/subscriptions/{name}`, `GET|DELETE /_local/dead-letters`
- `GET|PUT|DELETE /_local/behaviour` `{"faults": [{"count": 2, "status": 503, "delay_seconds": 0, "keep": false}],
  "retry_scale": 1.0}`: each fault answers the next `count` publishes (without `status`: late, but well; `keep`: the
  events were taken all the same, so that only the answer is lost); `retry_scale` shortens the waits between deliveries

Facts from https://learn.microsoft.com/azure/event-grid/post-to-custom-topic and the limits page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.cloudevents import BATCH, STRUCTURED, EventError, read_events
from local.faults import Fault, next_fault, read_faults
from local.identity import Flaw, judge_bearer
from local.serving import https_parser, read_json, serve
from local.subscriptions import SubscriptionError, Subscriptions

AUDIENCE = "https://eventgrid.azure.net"
MAX_REQUEST_BYTES = 1024 * 1024
MAX_EVENTS = 5000
_KEPT = 20_000
_FAULT_MEMBERS = {"count", "status", "delay_seconds", "keep"}
_FLAWS: dict[Flaw, str] = {
    "missing": "Request must contain one of the following authorization signature: Authorization.",
    "unreadable": "The bearer token could not be read.",
    "audience": f"The token's audience must be {AUDIENCE}.",
    "expired": "The token has expired.",
}


class Topic:
    """The topic's state and its routes; `app` is the ASGI application."""

    def __init__(self, trust: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`trust` is what deliveries to https endpoints trust; `transport` carries them in place of the network."""
        self.events: list[dict[str, Any]] = []
        self.publishes: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.subscriptions = Subscriptions(trust, transport)
        self._callback_secret = secrets.token_urlsafe(16)
        self.app = Starlette(
            routes=[
                Route("/api/events", self.publish, methods=["POST"]),
                Route("/_local/events", self.show_events, methods=["GET", "DELETE"]),
                Route("/_local/publishes", self.show_publishes, methods=["GET", "DELETE"]),
                Route("/_local/behaviour", self.behaviour, methods=["GET", "PUT", "DELETE"]),
                Route("/_local/subscriptions", self.subscribe, methods=["GET", "POST"]),
                Route("/_local/subscriptions/{name}", self.unsubscribe, methods=["DELETE"]),
                Route("/_local/subscriptions/{name}/validate", self.validate, methods=["GET"]),
                Route("/_local/dead-letters", self.show_dead_letters, methods=["GET", "DELETE"]),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        await self.subscriptions.close()

    async def publish(self, request: Request) -> Response:
        """Take events: 200 with an empty body, or Event Grid's error object."""
        content_type = request.headers.get("content-type", "")
        record: dict[str, Any] = {"time": time.time(), "mode": _mode(content_type), "audience": None, "events": []}
        self.publishes.append(record)
        del self.publishes[:-_KEPT]
        fault = next_fault(self.faults)
        await asyncio.sleep(fault.get("delay_seconds", 0))
        status, code, message = await self._take(request, content_type, record, fault)
        record["status"] = status
        return Response(status_code=200) if status == 200 else _refusal(status, code, message)

    async def _take(
        self, request: Request, content_type: str, record: dict[str, Any], fault: Fault
    ) -> tuple[int, str, str]:
        refusal = _check_token(request, record)
        if refusal:
            return 401, "Unauthorized", refusal
        body = await _read_body(request)
        if body is None:
            return 413, "RequestEntityTooLarge", f"The request is over {MAX_REQUEST_BYTES} bytes."
        try:
            events = read_events(content_type, dict(request.headers), body)
        except EventError as error:
            return 400, "BadRequest", f"This resource is configured to receive 'CloudEventV10' schema events. {error}"
        if len(events) > MAX_EVENTS:
            return 413, "RequestEntityTooLarge", f"There are over {MAX_EVENTS} events in the request."
        record["events"] = [event["id"] for event in events]
        if "status" not in fault or fault.get("keep"):
            self.events.extend(events)
            del self.events[:-_KEPT]
            for event in events:
                self.subscriptions.publish(event)
        if "status" in fault:
            return fault["status"], "ServerBusy", "A fault was asked for."
        return 200, "", ""

    async def show_events(self, request: Request) -> Response:
        """The events taken, or those whose `subject`, `type` and `id` equal what the query says."""
        if request.method == "DELETE":
            self.events.clear()
        wanted = {name: value for name, value in request.query_params.items() if name in {"subject", "type", "id"}}
        found = [event for event in self.events if all(event.get(name) == value for name, value in wanted.items())]
        return JSONResponse({"events": found})

    async def show_publishes(self, request: Request) -> Response:
        """Every publish request, refused ones too."""
        if request.method == "DELETE":
            self.publishes.clear()
        return JSONResponse({"publishes": self.publishes})

    async def behaviour(self, request: Request) -> Response:
        """Read, replace or reset the faults to come and the speed of retries."""
        if request.method == "DELETE":
            self.faults, self.subscriptions.retry_scale = [], 1.0
        elif request.method == "PUT":
            wanted = await read_json(request)
            try:
                self.faults = read_faults(wanted, members=_FAULT_MEMBERS, knobs={"retry_scale"})
            except ValueError as error:
                return JSONResponse({"error": str(error)}, status_code=400)
            self.subscriptions.retry_scale = float(wanted.get("retry_scale", 1.0))
        return JSONResponse({"faults": self.faults, "retry_scale": self.subscriptions.retry_scale})

    async def subscribe(self, request: Request) -> Response:
        """List the subscriptions, or add one after shaking hands with its endpoint."""
        if request.method == "GET":
            return JSONResponse({"subscriptions": self.subscriptions.all})
        wanted = await read_json(request)
        name = wanted.get("name") if isinstance(wanted, dict) else None
        callback = str(request.url_for("validate", name=str(name))) + f"?id={self._callback_secret}"
        try:
            subscription = await self.subscriptions.add(wanted, callback)
        except SubscriptionError as error:
            return _refusal(400, "InvalidRequest", f"Webhook validation failed: {error}.")
        return JSONResponse(subscription.public(), status_code=201)

    async def unsubscribe(self, request: Request) -> Response:
        """Remove a subscription."""
        return Response(status_code=204 if self.subscriptions.remove(request.path_params["name"]) else 404)

    async def validate(self, request: Request) -> Response:
        """The handshake's callback: whoever holds the URL may complete it."""
        known = secrets.compare_digest(request.query_params.get("id", ""), self._callback_secret)
        confirmed = known and self.subscriptions.confirm(request.path_params["name"])
        return Response("confirmed" if confirmed else "unknown or expired", status_code=200 if confirmed else 404)

    async def show_dead_letters(self, request: Request) -> Response:
        """The events that no retry will bring to their subscriber, and why."""
        if request.method == "DELETE":
            self.subscriptions.dead_letters.clear()
        return JSONResponse({"deadLetters": self.subscriptions.dead_letters})


def _check_token(request: Request, record: dict[str, Any]) -> str | None:
    """Return why the request is not authorized, or None. The audience goes into `record`; the token nowhere."""
    if "aeg-sas-key" in request.headers or "aeg-sas-token" in request.headers:
        record["audience"] = "(key)"
        return "Authentication by key or SAS token is disabled for this topic (disableLocalAuth)."
    record["audience"], flaw = judge_bearer(request.headers.get("authorization", ""), AUDIENCE)
    return flaw and _FLAWS[flaw]


async def _read_body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return None
    return bytes(body)


def _mode(content_type: str) -> str:
    media_type = content_type.partition(";")[0].strip().lower()
    return {BATCH: "batch", STRUCTURED: "structured"}.get(media_type, "binary")


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    message = (
        f"{message} Report '{uuid.uuid4()}:0:{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}' for assistance."
    )
    body = {"error": {"code": code, "message": message, "details": [{"code": code, "message": message}]}}
    return JSONResponse(body, status_code=status)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; print `ready https://127.0.0.1:<port>` once listening."""
    options = https_parser("python -m local.topic", "Local Event Grid topic.").parse_args(arguments)
    topic = Topic(ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE")))
    serve(topic.app, options.port, options.cert, options.key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
