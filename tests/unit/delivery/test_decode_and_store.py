"""From the wire to the blob: whatever a network makes of an answer, the stored bytes are the model's."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shared.delivery import provenance
from shared.delivery.results import ResultTarget, ResultWriter
from shared.model.decode import decode_images
from tests.support.fake_blobs import fake_blobs
from tests.support.signing import picture, vendor

IMAGES = {kind: vendor().sign(picture(kind), kind) for kind in ("image/png", "image/jpeg")}
CREATED = datetime(2026, 11, 22, tzinfo=UTC)


def answer_of(images: list[bytes]) -> bytes:
    data = [{"revised_prompt": '"b64_json": "', "b64_json": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"created": 1, "data": data, "usage": {"total_tokens": 1}}).encode()


async def arriving(body: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    """`body` in pieces of these sizes, over and over."""
    position = turn = 0
    while position < len(body):
        size = sizes[turn % len(sizes)]
        yield body[position : position + size]
        position, turn = position + size, turn + 1


async def stored(images: list[bytes], sizes: list[int]) -> list[bytes]:
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, ResultTarget("job", CREATED, 1, {"job": "job"}))
        await decode_images(arriving(answer_of(images), sizes), writer)
        found = await writer.finish()
        return [fake.blobs[image.blob] for image in found]


@effort(max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(sorted(IMAGES)), min_size=1, max_size=10),
    sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=8),
)
async def test_blobs_equal_the_models_bytes_however_the_answer_is_cut(kinds: list[str], sizes: list[int]) -> None:
    images = [IMAGES[kind] for kind in kinds]

    assert await stored(images, sizes) == images


@pytest.mark.parametrize("kind", sorted(IMAGES))
async def test_c2pa_reads_the_blob_as_it_read_the_original(kind: str) -> None:
    [blob] = await stored([IMAGES[kind]], [1_000])
    original, kept = (provenance.inspect(io.BytesIO(data), kind) for data in (IMAGES[kind], blob))

    assert kept == original
    assert kept.state == "valid"


@pytest.mark.parametrize("kind", sorted(IMAGES))
async def test_a_cut_at_every_offset_around_the_images_edges_changes_nothing(kind: str) -> None:
    """Every offset of the frame, and of the first and last hundred characters of the image."""
    body = answer_of([IMAGES[kind]])
    begin, end = body.index(b'"b64_json"', 60), len(body)
    offsets = [*range(1, begin + 200), *range(end - 200, end)]
    async with fake_blobs() as (fake, blobs):
        for number, offset in enumerate(offsets):
            target = ResultTarget(f"job{number}", CREATED, 1, {"job": "job"})
            writer = ResultWriter(blobs, target)
            await decode_images(arriving(body, [offset, len(body)]), writer)
            [image] = await writer.finish()
            assert fake.blobs.pop(image.blob) == IMAGES[kind]
