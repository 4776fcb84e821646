"""What a folder of any content asks for: an order, nothing yet, or a refusal that names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shared import settings as app_settings
from shared.errors import DarkroomError
from shared.images.sources import MAX_IMAGE_BYTES
from shared.jobs.upload_folder import UploadedFile, UploadFolder
from shared.pipeline.upload_order import Order, check_sizes, order_file, read_order


@pytest.fixture(autouse=True)
def _one_deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://images.openai.azure.com")
    app_settings.settings.cache_clear()
    yield
    app_settings.settings.cache_clear()


class Folder:
    """Files in memory; only `request.json` is ever read for an order."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    async def read(self, file: UploadedFile) -> bytes:
        assert file.name == "request.json"
        return self._request


def listed(name: str, size: int = 10, **metadata: str) -> UploadedFile:
    return UploadedFile(name, f"0x{name}", size, datetime.now(UTC), metadata=metadata)


def files(*names: str) -> dict[str, UploadedFile]:
    return {name: listed(name) for name in names}


async def ordered(found: dict[str, UploadedFile], request: bytes = b"") -> Order | None:
    file = order_file(found)
    return await read_order(cast("UploadFolder", Folder(request)), file, found) if file else None


async def images_of(found: dict[str, UploadedFile]) -> tuple[str, ...] | None:
    order = await ordered(found)
    return order.images if order else None


def request(**fields: Any) -> bytes:
    return json.dumps({"prompt": "x", **fields}).encode()


async def test_one_image_of_the_usual_name_need_not_be_named() -> None:
    for name in ("image.png", "image.jpg", "image.jpeg", "image.webp", "image.PNG"):
        found = files(name, "request.json", "notes.txt")
        order = await ordered(found, request())

        assert order is not None
        assert (order.images, order.mask, order.is_whole(found)) == ((name,), None, True)


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ((), {}),
        (("image.gif", "picture.png"), {}),
        (("image.png",), {"mask": "mask.png"}),
        (("image.png",), {"images": ["image.png", "other.png"]}),
    ],
)
async def test_what_is_named_and_not_there_is_waited_for(names: tuple[str, ...], fields: dict[str, Any]) -> None:
    found = files("request.json", *names)
    order = await ordered(found, request(**fields))

    assert order is not None
    assert not order.is_whole(found)


@pytest.mark.parametrize("names", [(), ("image.png",), ("mask.png", "a.json")])
async def test_nothing_is_asked_for_without_a_request_or_a_prompt(names: tuple[str, ...]) -> None:
    assert await ordered(files(*names)) is None


async def test_the_image_with_a_prompt_is_the_first_source_unless_others_are_named() -> None:
    plain = {"image.png": listed("image.png", prompt="x")}
    naming = {"image.png": listed("image.png", prompt="x", images="a.png,image.png")}

    assert (await images_of(plain), await images_of(naming)) == (("image.png",), ("a.png", "image.png"))


async def test_two_images_with_prompts_are_ambiguous() -> None:
    with pytest.raises(DarkroomError, match=r"image\.jpg, image\.png"):
        await ordered({name: listed(name, prompt="x") for name in ("image.png", "image.jpg")})


def test_a_file_over_the_limit_is_refused_by_its_listed_size() -> None:
    with pytest.raises(DarkroomError) as caught:
        check_sizes([listed("image.png", MAX_IMAGE_BYTES + 1)])

    assert caught.value.code == "image_too_large"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
_FIELD = st.sampled_from(["prompt", "images", "image", "mask", "kind", "boxes", "metadata", "n", "size", "model"])
_NAME = st.sampled_from(["request.json", "image.png", "image.jpg", "mask.png", "error.json", "x"]) | st.text(max_size=8)


@effort(max_examples=200)
@given(
    st.sets(_NAME, max_size=6),
    st.binary(max_size=40)
    | _JSON.map(json.dumps).map(str.encode)
    | st.dictionaries(_FIELD, _JSON).map(json.dumps).map(str.encode),
)
async def test_no_request_fails_in_another_way_than_a_refusal_that_can_be_written_down(
    names: set[str], body: bytes
) -> None:
    found = files("request.json", *names)
    named: tuple[str, ...]
    try:
        order = await ordered(found, body)
    except DarkroomError as error:
        named, said = (), json.dumps(error.to_dict(), ensure_ascii=False).encode()
    else:
        assert order is not None
        named, said = (*(order.images or ()), *filter(None, [order.mask])), b""

    assert len(said) < 1_000
    assert not any("/" in name or name in (".", "..", "request.json", "error.json", "job.json") for name in named)
