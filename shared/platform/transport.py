"""HTTP for the hot path: the model client and the blob client come in by `http_client`.

httpx on aiohttp's sockets, which read and write large bodies at a fraction of the cost of httpx's own, with three
things added: reads as large as the socket gives them, TLS sessions that outlive their connection, and `SentBody`, by
which a caller of the model knows whether its request may have left.
"""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

READ_BYTES: Final = 256 * 2**10
"""The most that one read takes from the connection: as much as asyncio's TLS layer decrypts at a time."""

SERVERS: Final = 64
"""How many servers' TLS sessions are kept: a storage account, and the endpoints of the deployments."""
LONGEST_PAUSE: Final = 60.0
"""Seconds until another session is read of a server that did not take the last one: 1 at first, then twice as many."""

DEFAULT_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)


def http_client(
    *,
    keep_alive: float | None = 60.0,
    max_connections: int = 100,
    timeout: httpx.Timeout | None = None,
    verify: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """A client for large bodies; close it with `aclose`. Its loop is the one that sends its first request.

    `keep_alive` is how many seconds an idle connection is kept; None opens a new one for each request. The model is
    asked on new connections: a kept one may have been closed from afar while the request was on its way, and then
    nobody can tell whether it arrived. `max_connections` 0 is no limit. `verify` is the trust to use, by default that
    of `SSL_CERT_FILE` or the system.
    Bodies come as they are (`Accept-Encoding: identity`: base64 of an image gains little from gzip and inflating it
    costs three times the rest), redirects are not followed, and no proxy, cookie or .netrc of the machine is used.
    """
    return CookielessClient(
        transport=_Transport(keep_alive, max_connections, verify or _trust()),
        headers={"accept-encoding": "identity", "connection": "close" if keep_alive is None else "keep-alive"},
        timeout=timeout or DEFAULT_TIMEOUT,
        follow_redirects=False,
        trust_env=False,
    )


class _NoCookies(httpx.Cookies):
    """Takes no cookie and gives none."""

    def extract_cookies(self, response: httpx.Response) -> None:
        del response

    def set_cookie_header(self, request: httpx.Request) -> None:
        del request


class CookielessClient(httpx.AsyncClient):
    """Keeps no cookie: one answer's would travel with the requests for other jobs."""

    _none: ClassVar = _NoCookies()

    @property  # type: ignore[misc]  # nobody may set them
    def cookies(self) -> httpx.Cookies:
        return self._none


class SentBody(httpx.AsyncByteStream):
    """A request body that notes in `sent` that its first bytes were handed to a connection.

    Exceptions cannot tell: the transport reports a connection that ended after the request was sent as a failure to
    connect. The body can: it is pulled only once there is a connection, TLS and all. While `sent` is false the service
    cannot have seen the request; once it is true, it may have. One body is for one try.
    `length` is in bytes; without it an iterable is sent in chunks. Pass `headers` along with the body.
    """

    def __init__(self, content: bytes | AsyncIterable[bytes], *, length: int | None = None) -> None:
        self.sent = False
        self._content = content
        length = len(content) if isinstance(content, bytes) else length
        self.headers = {} if length is None else {"content-length": str(length)}
        self._begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise httpx.StreamConsumed
        self._begun = True
        if isinstance(self._content, bytes):
            self.sent = True
            yield self._content
            return
        async for piece in self._content:
            self.sent = True
            yield piece


class _ResponseStream(AiohttpResponseStream):
    CHUNK_SIZE = READ_BYTES


class _Transport(AiohttpTransport):
    def __init__(self, keep_alive: float | None, max_connections: int, trust: ssl.SSLContext) -> None:
        super().__init__(verify=trust)
        self._keep_alive = keep_alive
        self._max_connections = max_connections

    def get_client(self) -> aiohttp.ClientSession:
        if self._keep_alive is None:
            connector = aiohttp.TCPConnector(ssl=self.ssl_context, limit=self._max_connections, force_close=True)
        else:
            connector = aiohttp.TCPConnector(
                ssl=self.ssl_context, limit=self._max_connections, keepalive_timeout=self._keep_alive
            )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=READ_BYTES)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await super().handle_async_request(request)
        except aiohttp.ClientError as error:  # the few kinds it does not translate: an answer that is no HTTP
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream = _ResponseStream(response.stream._aiohttp_response)
        return response


@cache
def _trust() -> ssl.SSLContext:
    """The trust of this process: loading the system's authorities costs milliseconds and megabytes, so once."""
    return new_trust()


def new_trust() -> _ResumingContext:
    """The trust of `SSL_CERT_FILE` or the system, with no TLS session yet."""
    trust = _ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    # What ssl.create_default_context sets beside a protocol's own defaults (Python 3.13); it takes no subclass.
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    trust.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return trust


@dataclass(slots=True)
class _Server:
    """The last connection to a server, and the session that connections to it are offered."""

    connection: ssl.SSLObject
    session: ssl.SSLSession | None = None
    read_again: float = 0.0  # monotonic
    pause: float = 1.0

    def renew_session(self) -> None:
        """Read the session of the last connection, once its handshake is done, where that had to do without one."""
        now = time.monotonic()
        if now < self.read_again or self.connection.session_reused or self.connection.version() is None:
            return
        self.session = self.connection.session
        self.read_again = now + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)


class _ResumingContext(ssl.SSLContext):
    """Offers each server a TLS session of an earlier connection to it, which asyncio has no parameter for.

    A session is read with the connection after the one it is of, since in TLS 1.3 (RFC 8446, section 4.6.1) the tickets
    come after the handshake, with the first bytes of the answer. It is offered for as long as the server takes it, and
    then the next is read, soon at first and at most once a minute later on: each reading of `SSLObject.session` leaves
    6 KB behind for good (CPython 3.13.0 with OpenSSL 3.0.19, seen over 1,800 connections).
    """

    def __init__(self, protocol: int) -> None:
        del protocol  # `__new__` has it
        super().__init__()
        self._servers: OrderedDict[str | bytes | None, _Server] = OrderedDict()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        server = self._servers.pop(server_hostname, None)
        if server is not None:
            server.renew_session()
            session = session or server.session
        connection = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if server is None:
            server = _Server(connection)
        server.connection = connection
        self._servers[server_hostname] = server  # at the end: the first is the one not met for the longest time
        if len(self._servers) > SERVERS:
            self._servers.popitem(last=False)
        return connection
