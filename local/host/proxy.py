"""Passes an HTTP request on to the worker's own server and its answer back, as streams in both directions.

`frontend.py` comes in with a request that has found its function and shown its key. In HTTP-streams mode the Functions
host forwards a request by HTTP, marked with the invocation's id, and beside it sends the invocation itself with the
route parameters only (DefaultHttpProxyService.cs in Azure/azure-functions-host); the runtime brings both together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from local.host.asgi import Answer, Receive, RequestBody, Scope, Send, forwarded_headers, refuse_body
from local.host.invocations import invoke
from local.host.metadata import Function
from local.host.process import WorkerProcess
from local.host.settings import HostSettings
from local.host.workers import Workers

_ATTEMPTS = 10
_WAIT_FOR_WORKER_SECONDS = 10.0
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


class WorkerRefusedError(Exception):
    """The worker's server broke off before it answered, or the request must not be sent to it again."""


class _Attempt:
    """One try to put a request to a worker. The invocation is sent when the request's first bytes are, and once.

    Were it sent earlier, a client that leaves at the wrong moment would leave the worker waiting for a request that
    never comes. aiohttp sends an idempotent request again when a kept connection breaks; a function would run twice.
    `patience` is without end until the invocation fails. Then the worker's server answers 500, unless the runtime had
    not brought invocation and request together yet: that request would wait for ever.
    """

    def __init__(self, proxy: Proxy, worker: WorkerProcess, request: Request, headers: dict[str, str]) -> None:
        self.invocation_id = str(uuid.uuid4())
        self.invocation: asyncio.Task[None] | None = None
        self.patience = asyncio.timeout(None)
        self._proxy, self._worker, self._request, self._headers = proxy, worker, request, headers

    async def headers_sent(self) -> None:
        """Called by aiohttp as it writes the request's headers."""
        if self.invocation is not None:
            raise WorkerRefusedError("the connection to the worker broke")
        self.invocation = self._proxy.invoke(self._worker, self._request, self.invocation_id, self._headers)
        self.invocation.add_done_callback(self._lose_patience)

    def _lose_patience(self, invocation: asyncio.Task[None]) -> None:
        if invocation.cancelled() or invocation.exception() is None:
            return
        with contextlib.suppress(RuntimeError):  # raised when the answer is there already
            self.patience.reschedule(asyncio.get_running_loop().time() + _ANSWER_OF_FAILED_SECONDS)


class _Upload(aiohttp.payload.Payload):
    """A streamed body whose headers do not wait for its first chunk."""

    def __init__(self, body: RequestBody) -> None:
        super().__init__(body)
        self._body = body

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  (aiohttp's signature)
        """Not a text."""
        raise TypeError

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the headers, then each chunk as it comes in."""
        writer.send_headers()
        async for chunk in self._body.chunks():
            await writer.write(chunk)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002  (here too)
        """As `write`: the host's server has seen to it that the body has the length its header says."""
        await self.write(writer)


async def _on_headers_sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    attempt: _Attempt = context.trace_request_ctx
    await attempt.headers_sent()


class Proxy:
    """Forwards requests to whichever worker's turn it is."""

    def __init__(self, workers: Workers, settings: HostSettings) -> None:
        self._workers, self._settings = workers, settings
        self._session: aiohttp.ClientSession | None = None
        self.invocations: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the client side."""
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_on_headers_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_WORKER_KEEP_ALIVE_SECONDS, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=65_536,
            max_field_size=65_536,
            trace_configs=[tracing],
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
        for number in range(_ATTEMPTS):
            worker = await self._worker()
            if worker is None or worker.http_uri is None:
                return None
            attempt = _Attempt(self, worker, request, dict(headers))
            try:
                async with attempt.patience:
                    return await self._session.request(
                        scope["method"],
                        URL(worker.http_uri + request.target + query, encoded=True),
                        headers=[*headers, ("x-ms-invocation-id", attempt.invocation_id)],
                        data=_Upload(body) if has_body else None,
                        allow_redirects=False,
                        trace_request_ctx=attempt,
                    )
            except aiohttp.ClientConnectorError:
                if attempt.invocation is not None:
                    raise
                # Nothing was sent. The host of Azure, too, tries ten times, 50 to 250 ms apart (RetryProxyHandler.cs).
                await asyncio.sleep(min(0.05 * 2**number, 0.25))
        return None

    async def _worker(self) -> WorkerProcess | None:
        try:
            async with asyncio.timeout(_WAIT_FOR_WORKER_SECONDS):
                return await self._workers.next().running()
        except TimeoutError:
            return None

    def invoke(
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
