"""Pieces: kept as they are, read as one file."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.delivery.pieces import PIECE_BYTES, PieceBuffer, reader


def test_large_pieces_are_kept_as_the_very_objects_that_came():
    large = bytes(PIECE_BYTES)
    buffer = PieceBuffer()
    buffer.add(large)
    assert buffer.take()[0] is large


def test_small_pieces_are_put_together():
    buffer = PieceBuffer()
    for _ in range(PIECE_BYTES // 1024):
        buffer.add(b"x" * 1024)
    buffer.add(b"end")
    assert buffer.size == PIECE_BYTES + 3
    assert [len(piece) for piece in buffer.take()] == [PIECE_BYTES, 3]
    assert (buffer.size, buffer.take()) == (0, [])


def test_the_head_is_there_before_and_after_pieces_are_put_together():
    buffer = PieceBuffer()
    assert buffer.head(4) == b""
    buffer.add(b"abc")
    assert buffer.head(2) == b"ab"
    buffer.add(bytes(PIECE_BYTES))
    assert buffer.head(4) == b"abc\0"


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=12), data=st.data())
def test_the_reader_reads_and_seeks_as_a_file_does(pieces, data):
    expected = io.BytesIO(b"".join(pieces))
    actual = reader(pieces)
    for _ in range(8):
        if data.draw(st.booleans()):
            whence = data.draw(st.sampled_from([io.SEEK_SET, io.SEEK_END]))
            offset = data.draw(
                st.integers(0, 500) if whence == io.SEEK_SET else st.integers(-len(expected.getvalue()), 9)
            )
            assert actual.seek(offset, whence) == expected.seek(offset, whence)
        else:
            count = data.draw(st.integers(-1, 200))
            assert actual.read(count) == expected.read(count)
        assert actual.tell() == expected.tell()


def test_seeking_before_the_beginning_is_an_error():
    with pytest.raises((ValueError, OSError)):
        reader([b"abc"]).seek(-1)
