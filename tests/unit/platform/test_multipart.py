"""Multipart bodies are handed on as they arrive, whatever the boundaries of the chunks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.platform import multipart
from shared.platform.multipart import Part, PartEnd

CONTENT_TYPE = 'multipart/form-data; boundary="b 1"'
BODY = (
    b'--b 1\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nA gr\xc3\xbcn fox\r\n'
    b'--b 1\r\nContent-Disposition: form-data; name="image[]"; filename="a;b.png"\r\n'
    b"Content-Type: Image/PNG; x=y\r\n\r\n"
    b"\x89PNG\r\n--b 2\r\n--b\r\n\r\n"
    b"--b 1--\r\n"
)
PARTS = [
    (Part("prompt", None, None), "A grün fox".encode()),
    (Part("image[]", "a;b.png", "image/png"), b"\x89PNG\r\n--b 2\r\n--b\r\n"),
]


async def chunked(body: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        yield body[start:end]


async def parts_of(
    body: bytes, content_type: str = CONTENT_TYPE, cuts: list[int] | None = None
) -> list[tuple[Part, bytes]]:
    found: list[tuple[Part, bytes]] = []
    async for event in multipart.parse(chunked(body, cuts or []), content_type):
        if isinstance(event, Part):
            part, value = event, bytearray()
        elif isinstance(event, PartEnd):
            found.append((part, bytes(value)))
        else:
            value += event
    return found


@given(st.lists(st.integers(0, 10_000), max_size=20))
async def test_the_parts_are_the_same_wherever_the_body_is_cut(cuts: list[int]) -> None:
    assert await parts_of(BODY, cuts=cuts) == PARTS


async def test_every_single_byte_may_arrive_alone() -> None:
    assert await parts_of(BODY, cuts=list(range(len(BODY)))) == PARTS


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (BODY, "multipart/form-data"),
        (BODY, f"multipart/form-data; boundary={'b' * 300}"),
        (b"", CONTENT_TYPE),
        (BODY[:-8], CONTENT_TYPE),
        (BODY[:60], CONTENT_TYPE),
        (b'{"prompt": "x"}', CONTENT_TYPE),
        (BODY.replace(b"form-data; ", b"attachment; "), CONTENT_TYPE),
        (BODY.replace(b'name="prompt"', b"x=1"), CONTENT_TYPE),
        (BODY.replace(b"Content-Type: ", b"X-Long: " + b"x" * 20_000), CONTENT_TYPE),
        (BODY[:68] * 200 + BODY[-9:], CONTENT_TYPE),
    ],
    ids=[
        "no boundary",
        "long boundary",
        "empty",
        "no end",
        "cut",
        "json",
        "attachment",
        "no name",
        "long header",
        "many",
    ],
)
async def test_a_body_that_is_no_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(DarkroomError) as refused:
        await parts_of(body, content_type)

    assert (refused.value.code, refused.value.status) == ("invalid_multipart", 400)


@given(st.binary(max_size=400))
async def test_no_bytes_make_the_parser_fail_otherwise(body: bytes) -> None:
    codes = set()
    try:
        await parts_of(body)
    except DarkroomError as error:
        codes.add(error.code)

    assert codes <= {"invalid_multipart"}
