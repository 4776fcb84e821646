"""Which of its two kinds an answer is: a document, or a stream of events. The model client comes in by `told_apart`.

By what came, not by what was asked for: a service that does not stream answers with a document. And by its first bytes,
not by its label: gateways pass a stream on as `text/plain`, or as nothing at all, and its images are paid for all the
same. Only what begins like neither is taken for what it says it is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from shared.model.decode import arriving
from shared.platform.server_sent_events import MEDIA_TYPE

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_WHITE_SPACE: Final = b" \t\r\n"
_FIELDS: Final = (b"data", b"event", b"id", b"retry")
"""https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""
_FIELD: Final = re.compile(rb"(?:%b)?[:\r\n]" % b"|".join(_FIELDS))
_DOCUMENT: Final = re.compile(rb"[{\[]")
_LOOKED_AT: Final = 4_096
"""Bytes of white space after which nothing is told by what begins behind them."""


async def told_apart(chunks: AsyncIterable[bytes], content_type: str) -> tuple[bool, AsyncIterator[bytes]]:
    """Whether `chunks` are a stream of events; and the same chunks again, from the first on.

    Reads no further than to the byte that tells. Raises DarkroomError `response_cut`.
    """
    rest = arriving(chunks)
    held: list[bytes] = []
    begin = b""
    async for chunk in rest:
        held.append(chunk)
        head = b"".join(held)[:_LOOKED_AT]
        begin = head.removeprefix(_BYTE_ORDER_MARK).lstrip(_WHITE_SPACE)
        if len(head) == _LOOKED_AT or not _tells_more_later(begin):
            break
    if _FIELD.match(begin):
        streamed = True
    elif _DOCUMENT.match(begin):
        streamed = False
    else:
        streamed = content_type.strip().lower().startswith(MEDIA_TYPE)
    return streamed, _again(held, rest)


def _tells_more_later(begin: bytes) -> bool:
    return any(one.startswith(begin) for one in (_BYTE_ORDER_MARK, *_FIELDS))


async def _again(held: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while held:
        yield held.pop(0)
    async for chunk in rest:
        yield chunk
