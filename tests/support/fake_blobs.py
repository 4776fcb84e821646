"""A Blob Storage of a few lines over real HTTP, which can fail on demand; for what Azurite cannot be made to do."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from shared.platform.blobs import BlobClient
from shared.platform.transport import http_client


@dataclass
class FakeBlobs:
    """`faults` are used up one per request: a status to answer, `drop` to hang up at once, `lose` to hang up after the
    request was carried out, or `cut` to hang up amid the answer. `gate`, when set, holds every request until it is
    opened."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    properties: dict[str, dict[str, str]] = field(default_factory=dict)
    blocks: dict[tuple[str, str], bytes] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    faults: deque[int | str] = field(default_factory=deque)
    gate: asyncio.Event | None = None
    uri: str = ""
    tokens: int = 0

    async def authorize(self) -> str:
        self.tokens += 1
        return "Bearer token"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(request)
        self.bodies.append(body)
        if self.gate:
            await self.gate.wait()
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, int):
            return web.Response(status=fault, headers={"x-ms-error-code": "Fault"})
        response = self._carry_out(request, body) if fault != "drop" else None
        if fault == "cut":
            assert isinstance(response, web.Response)
            assert isinstance(response.body, bytes)
            cut = web.StreamResponse(headers={"content-length": str(len(response.body))})
            await cut.prepare(request)
            await cut.write(response.body[:-1])
            response = None
        if response is None or fault == "lose":
            assert request.transport
            request.transport.close()
            return web.Response()
        return response

    def _carry_out(self, request: web.Request, body: bytes) -> web.StreamResponse:
        name = request.path.removeprefix("/account/")
        if request.method in ("GET", "HEAD"):
            return self._read(request, name)
        component = request.query.get("comp")
        if component == "block":
            self.blocks[name, request.query["blockid"]] = body
            return web.Response(status=201)
        listed = re.findall(r"<Uncommitted>(.*?)</Uncommitted>", body.decode()) if component == "blocklist" else []
        if any((name, block) not in self.blocks for block in listed):
            return web.Response(status=400, headers={"x-ms-error-code": "InvalidBlockList"})
        if request.headers.get("if-none-match") == "*" and name in self.blobs:
            return web.Response(status=409, headers={"x-ms-error-code": "BlobAlreadyExists"})
        if component == "appendblock":
            return self._append(request, name, body)
        if component == "blocklist":
            body = b"".join(self.blocks.pop((name, block)) for block in listed)
        else:
            assert request.headers["x-ms-blob-type"] in ("BlockBlob", "AppendBlob")
        self.blobs[name] = body
        self.properties[name] = {key.lower(): value for key, value in request.headers.items()}
        return web.Response(status=201)

    def _append(self, request: web.Request, name: str, body: bytes) -> web.StreamResponse:
        if len(self.blobs[name]) != int(request.headers["x-ms-blob-condition-appendpos"]):
            return web.Response(status=412, headers={"x-ms-error-code": "AppendPositionConditionNotMet"})
        self.blobs[name] += body
        return web.Response(status=201)

    def _read(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self.blobs:
            return web.Response(status=404, headers={"x-ms-error-code": "BlobNotFound"})
        data = self.blobs[name]
        kept = {key: value for key, value in self.properties[name].items() if key.startswith("x-ms-meta-")}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if wanted is None:
            return web.Response(body=data, headers=kept)
        begin, end = int(wanted[1]), int(wanted[2] or len(data)) + 1
        if begin >= len(data):
            return web.Response(status=416)
        return web.Response(status=206, body=data[begin:end], headers=kept)


@asynccontextmanager
async def fake_blobs() -> AsyncIterator[tuple[FakeBlobs, BlobClient]]:
    fake = FakeBlobs()
    application = web.Application(client_max_size=100 * 2**20)
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    fake.uri = f"http://127.0.0.1:{port}/account"
    client = http_client()
    try:
        yield fake, BlobClient(client, fake.uri, fake.authorize)
    finally:
        if fake.gate:
            fake.gate.set()
        await client.aclose()
        await runner.cleanup()
