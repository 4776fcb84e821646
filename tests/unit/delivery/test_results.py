"""The result writer: images of an answer stored whole, once, unchanged, two at a time."""

import asyncio
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.delivery import memory
from shared.delivery.incoming import BLOCK_BYTES, MAX_BUFFERED_BYTES
from shared.delivery.memory import Share
from shared.delivery.provenance import Provenance, inspect
from shared.delivery.results import ResultTarget, ResultWriter, write_sidecar
from shared.errors import DarkroomError
from shared.platform import blobs as blobs_module
from tests.support.fake_blobs import fake_blobs
from tests.support.signing import large_png, picture, vendor

CREATED = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
FOLDER = "results/2026/11/22/j"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "_FIRST_DELAY", 0.0)


def target(attempt: int = 1, created_at: datetime = CREATED, **metadata: str) -> ResultTarget:
    return ResultTarget(job_id="j", created_at=created_at, attempt=attempt, metadata=metadata)


async def write(writer: ResultWriter, *images: bytes, size: int = 50_000, first: int = 0) -> None:
    for index, image in enumerate(images, first):
        for begin in range(0, len(image), size):
            await writer.piece(index, image[begin : begin + size])
        await writer.end(index)


async def write_and_finish(writer: ResultWriter, *images: bytes) -> None:
    await write(writer, *images)
    await writer.finish()


def test_names_are_by_the_jobs_day_in_utc_and_by_attempt():
    late = CREATED.astimezone(timezone(timedelta(hours=5)))
    assert target(created_at=late).blob(0, "png") == "results/2026/11/22/j/0.png"
    assert target(attempt=3).blob(1, "jpg") == "results/2026/11/22/j/1.3.jpg"


@pytest.mark.parametrize(
    "metadata",
    [{"a-b": "x"}, {"1": "x"}, {"a": "é"}, {"a": "x\r\ny: z"}, {"a": ""}, {"a": " x"}, {"a": "x" * 8_000}],
)
def test_metadata_that_storage_would_refuse_is_refused_before_the_model_is_asked(metadata):
    with pytest.raises(DarkroomError) as caught:
        target(**metadata)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "metadata")


@pytest.mark.parametrize("count", [1, 2, 10])
async def test_every_image_is_stored_byte_for_byte_under_its_name(count):
    images = [
        vendor().sign(picture("image/png" if n % 2 else "image/jpeg"), "image/png" if n % 2 else "image/jpeg")
        for n in range(count)
    ]
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, target(job="j", darkroom_metadata="%7B%7D"))
        await write(writer, *images, size=777)
        stored = await writer.finish()
        names = [f"{FOLDER}/{n}.{'png' if n % 2 else 'jpg'}" for n in range(count)]
        assert fake.blobs == dict(zip(names, images, strict=True))
        assert [image.blob for image in stored] == names
        assert [image.sha256 for image in stored] == [hashlib.sha256(image).hexdigest() for image in images]
        assert [image.bytes for image in stored] == [len(image) for image in images]
        assert {(image.width, image.height, image.provenance.state) for image in stored} == {(96, 64, "valid")}
        for image in stored:
            sent = fake.properties[image.blob]
            assert sent["x-ms-blob-content-type"] == image.content_type
            assert (sent["x-ms-meta-provenance"], sent["x-ms-meta-sha256"]) == ("valid", image.sha256)
            assert (sent["x-ms-meta-job"], sent["x-ms-meta-darkroom_metadata"]) == ("j", "%7B%7D")
        assert len(fake.requests) == count
    # c2pa reads the stored bytes as it read the original
    for image, original in zip(stored, images, strict=True):
        assert image.provenance == inspect(io.BytesIO(original), image.content_type)


@pytest.mark.parametrize("size", [MAX_BUFFERED_BYTES, MAX_BUFFERED_BYTES + 1, MAX_BUFFERED_BYTES + 3 * BLOCK_BYTES])
async def test_an_image_over_8_mb_goes_up_in_blocks_and_shows_only_whole(size):
    image = large_png(size)
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, target(attempt=2, job="j"))
        for begin in range(0, size, 700_000):
            await writer.piece(0, image[begin : begin + 700_000])
            assert fake.blobs == {}
        await writer.end(0)
        (stored,) = await writer.finish()
        assert fake.blobs == {f"{FOLDER}/0.2.png": image}
        assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(image).hexdigest())
        assert (stored.width, stored.height, stored.provenance) == (96, 64, Provenance("none"))
        assert fake.properties[stored.blob]["x-ms-meta-sha256"] == stored.sha256
        assert fake.properties[stored.blob]["x-ms-meta-job"] == "j"
        assert fake.properties[stored.blob]["x-ms-blob-content-type"] == "image/png"
        assert max(len(body) for body in fake.bodies) <= MAX_BUFFERED_BYTES + 700_000
        assert (len(fake.requests) == 1) == (size <= MAX_BUFFERED_BYTES)


async def test_a_third_image_is_not_taken_in_before_the_first_is_stored():
    async with fake_blobs() as (fake, blobs):
        fake.gate = asyncio.Event()
        writer = ResultWriter(blobs, target())
        await write(writer, picture())
        second = asyncio.create_task(write(writer, picture(), first=1))
        async with asyncio.timeout(10):
            while not fake.requests:
                await asyncio.wait([second], timeout=0.01)
        assert not second.done()
        fake.gate.set()
        await second
        assert len(await writer.finish()) == 2


async def test_answers_that_hold_much_are_received_one_after_the_other_and_none_waits_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "BUDGET_BYTES", 100)
    async with fake_blobs() as (_, blobs):
        one, other = ResultWriter(blobs, target()), ResultWriter(blobs, target())
        image = picture()
        await one.piece(0, image[:200])
        waiting = asyncio.create_task(other.piece(0, image))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        await one.piece(0, image[200:])  # the first is received to its end
        assert Share.held == len(image)

        await one.end(0)
        await one.finish()
        await waiting
        assert await other.abort() == []
        assert Share.held == 0

        monkeypatch.setattr(memory, "PATIENCE", 0.0)
        await one.piece(1, image)
        await other.piece(1, image)  # the first may be held up itself
        assert Share.held == 2 * len(image)
        await one.abort()
        await other.abort()
        assert Share.held == 0


async def test_slow_storage_lets_the_images_that_follow_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture()
    monkeypatch.setattr(memory, "BUDGET_BYTES", len(image))
    async with fake_blobs() as (fake, blobs):
        fake.gate = asyncio.Event()
        writers = [ResultWriter(blobs, target(attempt)) for attempt in (1, 2, 3)]
        for writer in writers[:2]:
            await write(writer, image)
        waiting = asyncio.create_task(writers[2].piece(0, image))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()

        fake.gate.set()
        await waiting
        for writer in writers[:2]:
            assert len(await writer.finish()) == 1
        await writers[2].abort()
        assert (Share.held, Share._whole) == (0, 0)


async def test_an_image_whose_answer_is_given_up_while_it_waits_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BUDGET_BYTES", 100)
    async with fake_blobs() as (_, blobs):
        one, other = ResultWriter(blobs, target()), ResultWriter(blobs, target())
        await one.piece(0, picture())
        waiting = asyncio.create_task(other.piece(0, picture()))
        await asyncio.wait([waiting], timeout=0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        for writer in (other, one):
            assert await writer.abort() == []
        assert (Share.held, Share._receiving) == (0, {})


async def test_an_image_that_was_given_up_lets_the_next_one_be_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BUDGET_BYTES", 100)
    async with fake_blobs() as (_, blobs):
        one, other, third = (ResultWriter(blobs, target()) for _ in range(3))
        image = picture()
        await one.piece(0, image)
        waiting = asyncio.create_task(other.piece(0, image[:200]))
        later = asyncio.create_task(third.piece(0, image))
        await asyncio.wait([waiting, later], timeout=0.05)
        assert not waiting.done()
        await one.abort()
        await waiting
        await other.piece(0, image[200:])
        await other.end(0)
        await other.finish()
        await later
        await third.abort()
        assert Share.held == 0


@pytest.mark.parametrize(
    "body", [b"", b"GIF89a" + bytes(80), b"<html>no picture today</html>", b"\x89PNG\r\n\x1a\n" + bytes(90)]
)
async def test_what_is_no_image_is_refused_by_name_and_stores_nothing(body):
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, target())
        with pytest.raises(DarkroomError) as caught:
            await write_and_finish(writer, body)
        assert caught.value.code == "response_not_an_image"
        assert await writer.abort() == []
        assert fake.requests == []


async def test_an_answer_that_breaks_midway_leaves_its_whole_images_and_nothing_of_the_broken_one():
    image, large = picture(), large_png(MAX_BUFFERED_BYTES + 2 * BLOCK_BYTES)
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, target())
        await write(writer, image)
        await writer.piece(1, large[:-1_000_000])
        stored = await writer.abort()
        assert [(found.index, found.blob) for found in stored] == [(0, f"{FOLDER}/0.png")]
        assert fake.blobs == {f"{FOLDER}/0.png": image}


async def test_a_bad_image_between_good_ones_leaves_the_good_ones_stored():
    good = picture()
    async with fake_blobs() as (fake, blobs):
        writer = ResultWriter(blobs, target())
        with pytest.raises(DarkroomError) as caught:
            await write(writer, good, b"\x89PNG\r\n\x1a\n" + bytes(90), good)
        assert caught.value.code == "response_not_an_image"
        assert [image.index for image in await writer.abort()] == [0, 2]
        assert set(fake.blobs) == {f"{FOLDER}/0.png", f"{FOLDER}/2.png"}


async def test_storage_that_stays_away_is_reported_and_what_came_after_is_still_tried():
    async with fake_blobs() as (fake, blobs):
        fake.faults.extend([500] * blobs_module.WRITE_TRIES)
        writer = ResultWriter(blobs, target())
        with pytest.raises(DarkroomError) as caught:
            await write(writer, picture(), picture())
        assert caught.value.code == "storage_unavailable"
        assert [image.index for image in await writer.abort()] == [1]


async def test_a_cancelled_run_still_finds_the_whole_image_stored():
    async with fake_blobs() as (fake, blobs):
        fake.gate = asyncio.Event()
        writer = ResultWriter(blobs, target())
        await write(writer, picture())
        waiting = asyncio.create_task(writer.finish())
        async with asyncio.timeout(10):
            while not fake.requests:
                await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        fake.gate.set()
        assert [image.index for image in await writer.abort()] == [0]


async def test_a_sidecar_stands_beside_its_image_in_any_script():
    image = f"{FOLDER}/0.2.png"
    document = {"metadata": {"ключ": "🎨\n"}, "half": "\ud83d"}
    async with fake_blobs() as (fake, blobs):
        await write_sidecar(blobs, image, document)
        assert json.loads(fake.blobs[f"{FOLDER}/0.2.json"]) == {"metadata": {"ключ": "🎨\n"}, "half": "?"}
        await write_sidecar(blobs, image, {"again": True})
        assert json.loads(fake.blobs[f"{FOLDER}/0.2.json"]) == {"again": True}
