"""Passes an HTTP request on to the worker's own server and its answer back, as streams in both directions.

`frontend.py` comes in with a request that has found its function and shown its key. In HTTP-streams mode the Functions
host forwards a request by HTTP, marked with the invocation's id, and beside it sends the invocation itself with the
route parameters only (DefaultHttpProxyService.cs in Azure/azure-functions-host); the runtime brings both together.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from local.host.invocations import InvocationError, invoke
from local.host.metadata import Function
from local.host.process import WorkerProcess
from local.host.settings import HostSettings
from local.host.workers import Workers

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
_NOT_FORWARDED = _HOP_BY_HOP | {b"host", b"expect", b"x-ms-invocation-id"}
_NOT_RETURNED = _HOP_BY_HOP | {b"date", b"server"}  # the host's own server adds a date
_REPLACED = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))
_ATTEMPTS = 10
_WAIT_FOR_WORKER_SECONDS = 10.0
_LINGER_SECONDS = 5.0
_ANSWER_OF_FAILED_SECONDS = 5.0
_WORKER_KEEP_ALIVE_SECONDS = 3  # below uvicorn's 5, so that no request meets a connection that is being closed

log = logging.getLogger("host.http")


@dataclass(frozen=True)
class Request:
    """A request that has found its function: route parameters, and the path (`target`) to ask the worker for."""

    scope: Scope
    function: Function
    parameters: dict[str, str]
    target: str


class RequestBody:
    """The client's body on its way in, one chunk ahead of the worker, counted against the host's limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit = receive, limit
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self.is_too_large = False

    async def pump(self) -> None:
        """Take the body in; return when the client has gone or has sent more than the limit."""
        received, more = 0, True
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            if not more:
                continue
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            received += len(chunk)
            if received > self._limit:
                self.is_too_large = True
                return
            if chunk:
                await self._chunks.put(chunk)
            if not more:
                await self._chunks.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body for the worker."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


class Proxy:
    """Forwards requests to whichever worker's turn it is."""

    def __init__(self, workers: Workers, settings: HostSettings) -> None:
        self._workers, self._settings = workers, settings
        self._session: aiohttp.ClientSession | None = None
        self.invocations: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the client side."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_WORKER_KEEP_ALIVE_SECONDS, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=65_536,
            max_field_size=65_536,
        )

    async def stop(self) -> None:
        """Close the client side."""
        if self._session is not None:
            await self._session.close()

    async def forward(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one request."""
        length = next((value for name, value in request.scope["headers"] if name == b"content-length"), None)
        if length is not None and int(length) > self._settings.request_body_limit:
            await refuse_body(receive, send)
            return
        body = RequestBody(receive, self._settings.request_body_limit)
        answer = Answer(send)
        relay = asyncio.create_task(self._relay(request, body, answer))
        pump = asyncio.create_task(body.pump())
        try:
            await asyncio.wait((relay, pump), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            if not relay.done():
                relay.cancel()  # closes the worker's connection, which is how it learns that the client left
            await asyncio.gather(relay, return_exceptions=True)
        if body.is_too_large and not answer.has_started:
            await refuse_body(receive, send)
        elif not relay.cancelled() and (error := relay.exception()):
            log.error("'%s' did not answer: %s", request.function.name, error or type(error).__name__)
            if not answer.has_started:
                await answer.whole(502)

    async def _relay(self, request: Request, body: RequestBody, answer: Answer) -> None:
        try:
            headers = forwarded_headers(request.scope, self._settings.trust_principal_headers)
        except UnicodeDecodeError:
            await answer.whole(400)
            return
        response = await self._ask(request, headers, body)
        if response is None:
            await answer.whole(503)
            return
        async with response:
            await answer.start(response)
            async for chunk in response.content.iter_any():
                await answer.chunk(chunk)
            await answer.end()

    async def _ask(
        self, request: Request, headers: list[tuple[str, str]], body: RequestBody
    ) -> aiohttp.ClientResponse | None:
        """The worker's response, its body still to come; None when no worker could be reached."""
        assert self._session is not None
        scope = request.scope
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        query = "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
        for attempt in range(_ATTEMPTS):
            worker = await self._worker()
            if worker is None or worker.http_uri is None:
                return None
            invocation_id = str(uuid.uuid4())
            invocation = self._invoke(worker, request, invocation_id, dict(headers))
            asking = asyncio.ensure_future(
                self._session.request(
                    scope["method"],
                    URL(worker.http_uri + request.target + query, encoded=True),
                    headers=[*headers, ("x-ms-invocation-id", invocation_id)],
                    data=body.chunks() if has_body else None,
                    allow_redirects=False,
                )
            )
            try:
                return await _first_answer(asking, invocation)
            except aiohttp.ClientConnectorError:
                # Nothing was sent yet. The host of Azure, too, tries ten times, 50 to 250 ms apart.
                worker.forget(invocation_id)
                await asyncio.sleep(min(0.05 * 2**attempt, 0.25))
        return None

    async def _worker(self) -> WorkerProcess | None:
        try:
            async with asyncio.timeout(_WAIT_FOR_WORKER_SECONDS):
                return await self._workers.next().running()
        except TimeoutError:
            return None

    def _invoke(
        self, worker: WorkerProcess, request: Request, invocation_id: str, headers: dict[str, str]
    ) -> asyncio.Task[None]:
        """Send the invocation. It goes on to its own end whatever becomes of the request, as in Azure."""
        invocation = asyncio.create_task(
            invoke(
                worker,
                request.function,
                {"http": {"params": request.parameters}},
                invocation_id=invocation_id,
                trace_parent=headers.get("traceparent"),
                trace_state=headers.get("tracestate", ""),
                time_limit=self._settings.function_timeout,
            )
        )
        self.invocations.add(invocation)
        invocation.add_done_callback(self._ended)
        return invocation

    def _ended(self, invocation: asyncio.Task[None]) -> None:
        self.invocations.discard(invocation)
        if not invocation.cancelled():
            invocation.exception()  # looked at, so that asyncio does not report what the log already has


async def _first_answer(
    asking: asyncio.Future[aiohttp.ClientResponse], invocation: asyncio.Task[None]
) -> aiohttp.ClientResponse:
    """The worker's response. Raises InvocationError when the invocation failed and no response comes of it.

    Ordinarily a failed function answers 500 through the worker's server; but an invocation that fails before the
    runtime has brought it together with its request leaves that request waiting for ever.
    """
    try:
        await asyncio.wait((asking, invocation), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done() and invocation.exception() is not None:
            await asyncio.wait((asking,), timeout=_ANSWER_OF_FAILED_SECONDS)
            if not asking.done():
                raise InvocationError("the invocation failed and its request was left without an answer")
        return await asking
    finally:
        asking.cancel()


class Answer:
    """The response to the client, and how far it has got."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def start(self, response: aiohttp.ClientResponse) -> None:
        """Send the worker's status and headers."""
        headers = [(name.lower(), value) for name, value in response.raw_headers]
        dropped = _NOT_RETURNED | _named_by_connection(headers)
        self.has_started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name, value) for name, value in headers if name not in dropped],
            }
        )

    async def chunk(self, chunk: bytes) -> None:
        """Send a piece of the body; waits while the client is slower than the worker."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """End the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int) -> None:
        """Send a status with an empty body: the form of the host's own answers."""
        self.has_started = True
        await respond(self._send, status)


async def respond(
    send: Send, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = (), *, more: bool = False
) -> None:
    """Send a whole response; with `more` the connection is kept for the caller to end."""
    length = () if status == 204 else ((b"content-length", str(len(body)).encode()),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def refuse_body(receive: Receive, send: Send) -> None:
    """Answer 413 and close the connection, after listening on for a little.

    A client that is still sending when the connection is closed often never reads the answer.
    """
    await respond(send, 413, headers=((b"connection", b"close"),), more=True)
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def forwarded_headers(scope: Scope, trust_principal_headers: bool) -> list[tuple[str, str]]:
    """The client's headers as the worker may see them.

    Easy Auth's `x-ms-client-principal*` are dropped unless the platform vouches for them; nobody but the host names an
    invocation. Raises UnicodeDecodeError for a value that is no UTF-8, which Kestrel refuses too.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    dropped = _NOT_FORWARDED | _REPLACED | _named_by_connection(headers)
    kept = [
        (name.decode("ascii"), value.decode())
        for name, value in headers
        if name not in dropped and (trust_principal_headers or not name.startswith(b"x-ms-client-principal"))
    ]
    client, host = scope.get("client"), next((value for name, value in headers if name == b"host"), b"")
    kept += [("x-forwarded-for", client[0] if client else "127.0.0.1"), ("x-forwarded-proto", scope["scheme"])]
    return [*kept, ("x-forwarded-host", host.decode())]


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = (value for name, value in headers if name == b"connection")
    return frozenset(token.strip().lower() for value in named for token in value.split(b","))
