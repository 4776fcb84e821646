"""Answers that leave in pieces, and callers who do not take them: each holds a connection to storage, or memory."""

import asyncio
import logging
from typing import Final

from azurefunctions.extensions.http.fastapi import StreamingResponse
from starlette.types import Message, Send

PATIENCE: Final = 30.0
"""Seconds that a caller has for each piece of an answer, of a quarter of a megabyte at most."""

log = logging.getLogger("darkroom")


class _StalledError(Exception):
    """The caller takes nothing."""


class PatientResponse(StreamingResponse):  # type: ignore[misc]  # the extension ships without types
    """Cut off, without an end, when the caller takes nothing more. (The platform does so too, for one that takes less
    than 240 bytes a second: Kestrel's `MinResponseDataRate`, which the Functions host leaves as it is.)"""

    async def stream_response(self, send: Send) -> None:
        async def patient(message: Message) -> None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await send(message)
            except TimeoutError as error:
                raise _StalledError from error

        try:
            await super().stream_response(patient)
        except _StalledError:
            await self.body_iterator.aclose()
            log.warning("a caller took nothing of its answer for %.0f s; it was dropped", PATIENCE)
