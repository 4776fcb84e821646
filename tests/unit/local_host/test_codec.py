"""Frames between host and worker."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from local.host import codec

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.text(), _VALUES), max_size=4), st.integers(1, 7))
async def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(messages: list, cut: int) -> None:
    reader = asyncio.StreamReader()
    stream = b"".join(map(codec.encode, messages))
    for start in range(0, len(stream), cut):
        reader.feed_data(stream[start : start + cut])
    reader.feed_eof()
    assert [await codec.read(reader) for _ in range(len(messages) + 1)] == [*messages, None]


async def test_a_frame_that_is_cut_off_reads_as_the_end() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(codec.encode({"id": "1"})[:-1])
    reader.feed_eof()
    assert await codec.read(reader) is None
