"""Lines come out of a stream as they went in, however it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from shared.platform.lines import split


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9), st.data())
def test_lines_are_whole_wherever_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))

    async def chunks() -> AsyncIterator[bytes]:
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            yield text[start:end]

    async def read() -> list[bytes]:
        return [line async for line in split(chunks())]

    found = asyncio.run(read())

    assert found == (lines[:-1] if lines and not lines[-1] else lines)
