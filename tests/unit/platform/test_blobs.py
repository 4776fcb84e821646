"""Blob Storage over plain REST: what is sent, what is tried again, what is refused."""

import pytest

from shared.errors import DarkroomError
from shared.platform import blobs as blobs_module
from shared.platform.blobs import READ_TRIES, WRITE_TRIES, block_id
from tests.support.fake_blobs import fake_blobs


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "_FIRST_DELAY", 0.0)


async def test_a_blob_is_one_conditional_put_with_all_its_headers():
    async with fake_blobs() as (fake, blobs):
        await blobs.put("results/a b/é.png", [b"ab", b"", b"c"], content_type="image/png", metadata={"job": "j"})
        sent = fake.requests[0].headers
        assert fake.blobs == {"results/a b/é.png": b"abc"}
        assert (sent["authorization"], sent["content-length"], sent["if-none-match"]) == ("Bearer token", "3", "*")
        assert (sent["x-ms-blob-content-type"], sent["x-ms-meta-job"]) == ("image/png", "j")
        assert "transfer-encoding" not in sent
        assert len(fake.requests) == 1


async def test_a_blob_that_may_be_overwritten_is_put_without_a_condition():
    async with fake_blobs() as (fake, blobs):
        for text in (b"1", b"2"):
            await blobs.put("results/0.json", [text], content_type="application/json", overwrite=True)
        assert fake.blobs == {"results/0.json": b"2"}


@pytest.mark.parametrize("fault", [500, 503, 429, 408, 401, "drop"])
async def test_a_passing_failure_is_tried_again_with_the_same_bytes(fault):
    async with fake_blobs() as (fake, blobs):
        fake.faults.extend([fault] * 3)
        await blobs.put("results/0.png", [b"abc"], content_type="image/png")
        assert fake.blobs == {"results/0.png": b"abc"}
        assert fake.tokens >= 4 if fault != "drop" else fake.tokens >= 2


async def test_a_put_whose_answer_was_lost_is_recognised_as_done():
    async with fake_blobs() as (fake, blobs):
        fake.faults.extend(["lose", "lose", "lose"])
        await blobs.put("results/0.png", [b"abc"], content_type="image/png", metadata={"sha256": "s"})
        assert fake.blobs == {"results/0.png": b"abc"}


async def test_a_commit_whose_answer_was_lost_is_recognised_as_done():
    async with fake_blobs() as (fake, blobs):
        names = [block_id("nonce", number) for number in range(2)]
        for name in names:
            await blobs.put_block("results/0.png", name, [b"ab"])
        fake.faults.append("lose")
        await blobs.commit("results/0.png", names, content_type="image/png", metadata={"sha256": "s"})
        assert fake.blobs == {"results/0.png": b"abab"}


async def test_other_bytes_under_the_name_are_left_alone_and_reported():
    async with fake_blobs() as (fake, blobs):
        await blobs.put("results/0.png", [b"first"], content_type="image/png", metadata={"sha256": "1"})
        with pytest.raises(DarkroomError) as caught:
            await blobs.put("results/0.png", [b"second"], content_type="image/png", metadata={"sha256": "2"})
        assert (caught.value.code, fake.blobs) == ("storage_unavailable", {"results/0.png": b"first"})


@pytest.mark.parametrize(("status", "tries"), [(500, WRITE_TRIES), (403, 1), (400, 1)])
async def test_a_lasting_failure_is_storage_unavailable(status, tries):
    async with fake_blobs() as (fake, blobs):
        fake.faults.extend([status] * WRITE_TRIES)
        with pytest.raises(DarkroomError) as caught:
            await blobs.put("results/0.png", [b"abc"], content_type="image/png")
        assert (caught.value.code, len(fake.requests)) == ("storage_unavailable", tries)
        assert "token" not in str(caught.value)


async def test_storage_that_is_not_there_is_storage_unavailable():
    async with fake_blobs() as (_, blobs):
        blobs._service_uri = "http://127.0.0.1:1"
        with pytest.raises(DarkroomError) as caught:
            await blobs.put("results/0.png", [b"abc"], content_type="image/png")
        assert caught.value.code == "storage_unavailable"


async def test_staged_blocks_show_only_when_they_are_committed():
    async with fake_blobs() as (fake, blobs):
        names = [block_id("+/nonce", number) for number in range(3)]
        for number, name in enumerate(names):
            await blobs.put_block("results/0.png", name, [b"%d" % number, b"x"])
        assert fake.blobs == {}
        await blobs.commit("results/0.png", names, content_type="image/png", metadata={"job": "j"})
        assert fake.blobs == {"results/0.png": b"0x1x2x"}
        assert fake.properties["results/0.png"]["x-ms-meta-job"] == "j"
        assert fake.properties["results/0.png"]["if-none-match"] == "*"


async def test_a_blob_is_read_as_a_stream_whole_or_in_part():
    async with fake_blobs() as (_, blobs):
        data = bytes(range(256)) * 4096
        await blobs.put("results/0.png", [data], content_type="image/png", metadata={"sha256": "s"})
        async with await blobs.read("results/0.png") as blob:
            assert (blob.status, blob.headers["x-ms-meta-sha256"]) == (200, "s")
            assert b"".join([chunk async for chunk in blob.chunks()]) == data
        async with await blobs.read("results/0.png", byte_range="bytes=10-19") as blob:
            assert blob.status == 206
            assert b"".join([chunk async for chunk in blob.chunks()]) == data[10:20]


async def test_a_blob_that_is_not_there_or_not_that_long_is_refused_by_name():
    async with fake_blobs() as (_, blobs):
        with pytest.raises(DarkroomError) as caught:
            await blobs.read("results/none.png")
        assert caught.value.code == "not_found"
        await blobs.put("results/0.png", [b"abc"], content_type="image/png")
        with pytest.raises(DarkroomError) as caught:
            await blobs.read("results/0.png", byte_range="bytes=10-19")
        assert caught.value.code == "range_not_satisfiable"


async def test_a_small_blob_that_is_cut_on_its_way_is_read_again():
    async with fake_blobs() as (fake, blobs):
        await blobs.put("requests/j/request.json", [b"{}"], content_type="application/json")
        fake.faults.extend(["cut"] * (READ_TRIES - 1))
        assert await blobs.read_whole("requests/j/request.json") == b"{}"
        fake.faults.extend(["cut"] * READ_TRIES)
        with pytest.raises(DarkroomError) as caught:
            await blobs.read_whole("requests/j/request.json")
        assert caught.value.code == "storage_unavailable"
        with pytest.raises(DarkroomError) as caught:
            await blobs.read_whole("requests/j/none.json")
        assert caught.value.code == "not_found"
