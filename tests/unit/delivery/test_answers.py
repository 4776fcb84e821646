"""Answers made from stored blobs: the same JSON, the same bytes, the length known before."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.delivery import answers


class StoredBlob:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> StoredBlob:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class Blobs:
    """Stored images that come back in the chunks given."""

    def __init__(self, stored: dict[str, list[bytes]]) -> None:
        self._stored = stored

    async def read(self, name: str) -> StoredBlob:
        return StoredBlob(self._stored[name])


async def answer(body: dict[str, Any], stored: list[list[bytes]]) -> Any:
    names = [f"results/{index}.png" for index in range(len(stored))]
    images = [
        {"index": index, "blob": name, "bytes": sum(map(len, chunks))}
        for index, (name, chunks) in enumerate(zip(names, stored, strict=True))
    ]
    encoded = answers.encode(body, images)
    blobs: Any = Blobs(dict(zip(names, stored, strict=True)))
    sent = b"".join([chunk async for chunk in encoded.chunks(blobs)])
    assert len(sent) == encoded.length
    return json.loads(sent)


@given(st.lists(st.lists(st.binary(min_size=1, max_size=20), max_size=6), min_size=1, max_size=4))
async def test_each_image_is_encoded_in_its_place_however_storage_cuts_it(stored: list[list[bytes]]) -> None:
    body = {
        "created": 1,
        "data": [{"b64_json": index, "revised_prompt": "@image@"} for index in reversed(range(len(stored)))],
        "usage": {"total_tokens": 3},
    }
    read = await answer(body, stored)

    assert [item["b64_json"] for item in read["data"]] == [
        base64.b64encode(b"".join(chunks)).decode() for chunks in reversed(stored)
    ]
    assert [item["revised_prompt"] for item in read["data"]] == ["@image@"] * len(stored)
    assert read["usage"] == {"total_tokens": 3}


async def test_items_without_an_image_and_links_stay_as_they_are() -> None:
    body = {"data": [{"b64_json": None}, {"url": "https://x/?sig=1"}, {"b64_json": 0}]}
    read = await answer(body, [[b"abc"]])

    assert read == {"data": [{"b64_json": None}, {"url": "https://x/?sig=1"}, {"b64_json": "YWJj"}]}
