"""Lines out of a stream of bytes, as they come: bodies and blobs of JSON Lines (https://jsonlines.org)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable


async def split(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """The lines of `chunks` without their line feeds, empty ones too; the last one need not end."""
    begun = bytearray()
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun += first
        for other in others:
            yield bytes(begun)
            begun = bytearray(other)
    if begun:
        yield bytes(begun)
