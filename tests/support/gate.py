"""A gate on the way to an https service, which now and then refuses a request, cuts it off or loses its answer.

The last is the nastiest: the service did what it was asked, and whoever asked does not learn it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from local.certificates import Certificates

_BUSY = {"odata.error": {"code": "ServerBusy", "message": {"lang": "en-US", "value": "A fault was asked for."}}}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_ADDED_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Fate(StrEnum):
    """What becomes of a request."""

    PASS = "passed on"
    REFUSE = "refused with 503"
    CUT = "cut before it arrived"
    LOSE = "answer lost, connection cut"
    LOSE_AS_500 = "answer lost, 500 instead"
    DELAY = "delayed"


@dataclass(slots=True)
class Gate:
    """`url` is where to send what was meant for the service. `odds` are the chances of each fate but `PASS`, of 1;
    none of them: everything passes. `fates` counts what became of the requests."""

    odds: Mapping[Fate, float] = field(default_factory=dict)
    url: str = ""
    fates: Counter[Fate] = field(default_factory=Counter)
    longest_delay: float = 2.0
    dice: random.Random = field(default_factory=random.Random)

    def decide(self) -> Fate:
        [fate] = self.dice.choices(
            [*self.odds, Fate.PASS], [*self.odds.values(), max(0.0, 1 - sum(self.odds.values()))]
        )
        self.fates[fate] += 1
        return fate


@contextmanager
def opened(upstream: str, certificates: Certificates, gate: Gate) -> Iterator[Gate]:
    """`gate`, in a thread of its own, on the way to the service at `upstream`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="gate")
    thread.start()
    server = _Server(upstream, certificates, gate)
    try:
        port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        gate.url = f"https://127.0.0.1:{port}{urlsplit(upstream).path}"
        yield gate
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Server:
    def __init__(self, upstream: str, certificates: Certificates, gate: Gate) -> None:
        parts = urlsplit(upstream)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._certificates = certificates
        self._gate = gate
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self) -> int:
        offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        offered.load_cert_chain(self._certificates.cert, self._certificates.key)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=self._certificates.ca)),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_ADDED_BY_AIOHTTP,
        )
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=offered).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0.1)  # its TLS connections close in the rounds of the loop that follow

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        fate = self._gate.decide()
        if fate is Fate.REFUSE:
            return web.json_response(_BUSY, status=503)
        if fate is Fate.CUT:
            return _cut(request)
        if fate is Fate.DELAY:
            await asyncio.sleep(self._gate.dice.uniform(0, self._gate.longest_delay))
        answer = await self._pass_on(request, body)
        if fate is Fate.LOSE:
            return _cut(request)
        return web.json_response(_BUSY, status=500) if fate is Fate.LOSE_AS_500 else answer

    async def _pass_on(self, request: web.BaseRequest, body: bytes) -> web.Response:
        assert self._session is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        async with self._session.request(
            request.method,
            URL(self._origin + request.raw_path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        response = web.Response(status=answer.status, body=content)
        response.headers.clear()
        response.headers.extend(kept)
        return response


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
