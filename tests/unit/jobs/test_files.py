"""The documents of a job: what is written is read again, and what storage does wrong has one name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from shared.errors import DarkroomError
from shared.images.request import ImageRequest
from shared.jobs.files import AcceptedRequest, JobFiles
from shared.platform import blobs as blobs_module
from tests.support.fake_blobs import FakeBlobs, fake_blobs

ACCEPTED = AcceptedRequest(ImageRequest(kind="generate", prompt="ein Leuchtturm, \u706f\u5854", model="gpt-image-1"))


@pytest.fixture
async def stored(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeBlobs, JobFiles]]:
    monkeypatch.setattr(blobs_module, "_FIRST_DELAY", 0.0)
    async with fake_blobs() as (fake, blobs):
        yield fake, JobFiles(blobs, cast("Any", None), "job")


async def test_documents_are_read_as_they_were_written(stored: tuple[FakeBlobs, JobFiles]) -> None:
    fake, files = stored
    await files.put_request(ACCEPTED)
    for call in (1, 2):
        await files.put_result({"call": call})

    assert await files.get_request() == ACCEPTED
    assert await files.get_result() == {"call": 2}
    assert fake.blobs.keys() == {"requests/job/request.json", "requests/job/result.json"}
    assert len(fake.requests) == 5


async def test_a_result_that_is_not_there_is_none_and_a_request_a_fault(stored: tuple[FakeBlobs, JobFiles]) -> None:
    _, files = stored
    assert await files.get_result() is None
    with pytest.raises(DarkroomError, match="is missing") as caught:
        await files.get_request()
    assert caught.value.code == "internal_error"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff"])
async def test_a_request_that_cannot_be_read_is_a_fault(stored: tuple[FakeBlobs, JobFiles], text: bytes) -> None:
    fake, files = stored
    await files.put_request(ACCEPTED)
    fake.blobs["requests/job/request.json"] = text
    with pytest.raises(DarkroomError, match="cannot be read") as caught:
        await files.get_request()
    assert caught.value.code == "internal_error"


@pytest.mark.parametrize("fault", [403, 409, 412, 500, "drop"])
async def test_whatever_storage_does_wrong_is_storage_unavailable(
    stored: tuple[FakeBlobs, JobFiles], fault: int | str
) -> None:
    fake, files = stored
    await files.put_request(ACCEPTED)
    for ask in (files.get_request, files.get_result, lambda: files.put_result({})):
        fake.faults.extend([fault] * 200)
        with pytest.raises(DarkroomError) as caught:
            await ask()
        assert caught.value.code == "storage_unavailable"
        fake.faults.clear()
