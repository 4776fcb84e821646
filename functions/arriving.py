"""A request's body on its way in: how long it may take, and how much of all bodies is held in memory at once.

`web`, `forms` and `json_lines` come in here. The platform cuts a sender that falls under 240 bytes a second, after 5 s
of grace (https://github.com/Azure/azure-functions-host/issues/11893); what is here holds wherever the app runs.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from shared.errors import DarkroomError
from shared.settings import settings

SILENCE_SECONDS: Final = 30.0
"""How long the next byte of a body is waited for."""
HELD_BYTES: Final = 256 * 2**20
"""What may be held of all bodies of this process that are kept whole until they are parsed."""
RETRY_AFTER_SECONDS: Final = 5.0


async def in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`chunks` as they come. Raises `request_timeout` after `SILENCE_SECONDS` without one, and when they have not
    ended within `SYNC_BUDGET_SECONDS`. The reader's own time between them counts towards the latter alone."""
    loop = asyncio.get_running_loop()
    budget = settings().sync_budget_seconds
    end = loop.time() + budget
    while True:
        until = min(end, loop.time() + SILENCE_SECONDS)
        try:
            async with asyncio.timeout_at(until):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            why = f"did not end within {budget:.0f} s" if until == end else f"stopped for {SILENCE_SECONDS:.0f} s"
            message = f"The body {why}. Send it again, or upload its files by the links of POST /api/uploads."
            raise DarkroomError("request_timeout", message) from error
        if chunk is None:
            return
        yield chunk


class Held:
    """What one request holds of its body in memory; let go at the end of the `with`."""

    all_bytes = 0
    """The same of all requests of this process."""

    def __init__(self) -> None:
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Held.all_bytes -= self._bytes
        self._bytes = 0

    def add(self, size: int) -> None:
        """Count `size` bytes more. Raises `rate_limit_exceeded` when all requests together would hold too much; a
        body that is alone is not refused."""
        if Held.all_bytes > self._bytes and Held.all_bytes + size > HELD_BYTES:
            raise DarkroomError(
                "rate_limit_exceeded",
                "Too many large bodies are coming in at once. Retry later, or upload files by the links of POST "
                "/api/uploads.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        Held.all_bytes += size
        self._bytes += size

    async def counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """`chunks`, each counted as it comes."""
        async for chunk in chunks:
            self.add(len(chunk))
            yield chunk
