"""A call's server-sent events, picture after picture: partial ones, each clearer, then the completed one.

With n above 1 (undocumented) the events of one picture follow those of the other, and only the first completed event
counts the input tokens, so that the usages of a stream add up.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from local.model.answer import event
from local.model.behaviour import Fault, Knobs
from local.model.errors import ServiceError
from local.model.parameters import ImageCall
from local.model.studio import MadeImage, Studio
from local.model.usage import usage_of


class EventStream:
    """The body of a streamed answer.

    `made` is told of each finished picture and its usage; `error`, when given, ends the stream after the first partial
    pictures as an event of its own.
    """

    def __init__(
        self,
        call: ImageCall,
        knobs: Knobs,
        fault: Fault,
        studio: Studio,
        *,
        error: ServiceError | None,
        made: Callable[[int, MadeImage, dict[str, Any]], None],
    ) -> None:
        self._call, self._knobs, self._fault, self._studio = call, knobs, fault, studio
        self._error, self._made = error, made
        self._prefix = "image_edit" if call.operation == "edits" else "image_generation"
        self._members = {
            "created_at": int(time.time()),
            "size": call.size,
            "quality": call.quality,
            "background": call.background,
            "output_format": call.output_format,
        }

    async def pieces(self) -> AsyncIterator[bytes]:
        for index in range(self._call.n):
            async for piece in self._picture(index):
                yield piece
            if self._error is not None:
                return
        if self._knobs.stream_done:
            yield b"data: [DONE]\n\n"

    async def _picture(self, index: int) -> AsyncIterator[bytes]:
        steps = await self._studio.make_in_steps(self._call, index, self._knobs, self._fault)
        try:
            *partials, finished = steps
            for number, partial in enumerate(partials):
                members = {**self._members, "partial_image_index": number}
                for piece in event(f"{self._prefix}.partial_image", partial, members):
                    yield piece
            if self._error is not None:
                for piece in event("error", None, self._error.body):
                    yield piece
                return
            usage = usage_of(self._call, self._knobs, images=1, with_input=index == 0)
            self._made(index, finished, usage)
            tail = {} if self._fault.no_usage else {"usage": usage}
            for piece in event(f"{self._prefix}.completed", finished, {**self._members, **tail}):
                yield piece
        finally:
            for image in steps:
                image.close()
