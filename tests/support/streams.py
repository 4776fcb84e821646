"""Streams that end as the local model's do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.model.events import decode_events


def refuse_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the service refuse each stream by its policy, behind the images that came whole."""

    async def refused(chunks: AsyncIterator[bytes], *to: Any, **asked: Any) -> Any:
        async def more() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk
            yield b'event: error\ndata: {"error":{"code":"moderation_blocked","message":"No."}}\n\n'

        return await decode_events(more(), *to, **asked)

    monkeypatch.setattr("shared.model.client.decode_events", refused)
