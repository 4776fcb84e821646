"""The trace of an HTTP request: its caller's when it has one, else a new one. The HTTP doors come in here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from shared.platform import exporting, tracing

_ONLY_READ = ("GET", "HEAD", "OPTIONS")


@asynccontextmanager
async def request(name: str, method: str, headers: Mapping[str, str]) -> AsyncIterator[None]:
    """The span of a request that changes something. Reads are left out: the platform counts them, and pollers ask
    many times. On Azure the host puts itself between: its own span is then the caller's."""
    await exporting.begin()
    if method in _ONLY_READ:
        yield
        return
    with tracing.span(name, {"http.request.method": method}, parent=headers.get("traceparent", "")):
        yield
