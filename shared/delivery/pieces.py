"""An image as it arrives: its bytes in pieces, never joined; the result writer comes in by `PieceBuffer`."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Buffer, Sequence
from itertools import accumulate
from typing import BinaryIO, Final

PIECE_BYTES: Final = 128 * 2**10
"""Pieces smaller than this are put together: each costs a turn of the loop and a record header on its way out."""


class PieceBuffer:
    """Collects pieces, the small ones joined; `size` is their sum in bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._small = bytearray()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if not self._small and len(data) >= PIECE_BYTES:
            self._pieces.append(data)
            return
        self._small += data
        if len(self._small) >= PIECE_BYTES:
            self._join()

    def take(self) -> list[bytes]:
        """The pieces so far, no longer held here."""
        self._join()
        pieces, self._pieces, self.size = self._pieces, [], 0
        return pieces

    def head(self, count: int) -> bytes:
        """The first `count` bytes, as far as they are there."""
        return (self._pieces[0] if self._pieces else bytes(self._small[:count]))[:count]

    def _join(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()


def reader(pieces: Sequence[bytes]) -> BinaryIO:
    """The pieces as one seekable file, read where they lie."""
    return io.BufferedReader(_PieceReader(pieces))


class _PieceReader(io.RawIOBase):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._starts = [0, *accumulate(map(len, pieces))]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Fills `buffer` from the piece at hand; callers that want more ask again."""
        if self._position >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        begin = self._position - self._starts[number]
        with memoryview(buffer) as view, memoryview(self._pieces[number]) as piece:
            count = min(len(view), len(piece) - begin)
            view[:count] = piece[begin : begin + count]
        self._position += count
        return count
