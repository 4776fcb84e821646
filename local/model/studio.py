"""Where pictures are made: drawn, encoded, signed and laid down on disk, off the event loop.

`service.py` comes in with a checked call. One picture is in memory at a time for each worker; what is ready waits in an
unnamed temporary file until the answer is written.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from local.model.behaviour import Fault, Knobs
from local.model.encoding import CONTENT_TYPES, encode, padded, tampered
from local.model.parameters import ImageCall
from local.model.pictures import draw
from local.model.pictures.partial import unfinished
from local.model.provenance import ImageSigner


@dataclass(frozen=True)
class MadeImage:
    """A finished picture: its bytes in `file` (at the start), their number and sha256."""

    file: BinaryIO
    size: int
    sha256: str

    def close(self) -> None:
        self.file.close()


class Studio:
    """A few workers that draw. Drawing is numpy, Pillow and zlib, which let go of the interpreter lock."""

    def __init__(self, signer: ImageSigner) -> None:
        self._signer = signer
        self._workers = ThreadPoolExecutor(max_workers=(os.cpu_count() or 2) + 1, thread_name_prefix="studio")

    def close(self) -> None:
        self._workers.shutdown(cancel_futures=True)

    async def make(self, call: ImageCall, index: int, knobs: Knobs, fault: Fault) -> MadeImage:
        """Picture number `index` of a call, as it is answered."""
        return await self._run(lambda: self._finished(call, index, knobs, fault)[-1])

    async def make_in_steps(self, call: ImageCall, index: int, knobs: Knobs, fault: Fault) -> list[MadeImage]:
        """The partial pictures of a stream, unsigned, each clearer than the last, then the finished one."""
        return await self._run(lambda: self._finished(call, index, knobs, fault, partial=call.partial_images))

    async def _run[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def _finished(self, call: ImageCall, index: int, knobs: Knobs, fault: Fault, partial: int = 0) -> list[MadeImage]:
        given = fault.image_bytes()
        if given is not None:
            return [_laid_down(given) for _ in range(partial + 1)]
        image = draw(call, index)
        made = [
            _laid_down(encode(unfinished(image, step, partial), call.output_format, call.output_compression))
            for step in range(partial)
        ]
        content = encode(image, call.output_format, call.output_compression)
        if fault.oversize_image_mb is not None:
            content = padded(content, call.output_format, int(fault.oversize_image_mb * 1024 * 1024))
        if not (knobs.unsigned or fault.unsigned):
            title = f"image_{index}.{call.output_format}"
            content = self._signer.sign(content, CONTENT_TYPES[call.output_format], knobs.eku, title, call.sources)
            if fault.tampered:
                content = tampered(content, call.output_format)
        made.append(_laid_down(content))
        return made


def _laid_down(content: bytes) -> MadeImage:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the answer
    file.write(content)
    file.seek(0)
    return MadeImage(file, len(content), hashlib.sha256(content).hexdigest())
