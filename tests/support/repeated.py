"""Requests sent to the in-process doors as those do who may send them twice, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from starlette.responses import Response, StreamingResponse

from tests.support.doors import call
from tests.support.photographs import mask

REQUEST = {"prompt": "a lighthouse", "quality": "low"}
KEY = {"idempotency-key": "order-1017"}

Door = Callable[..., Any]


def form(*pictures: bytes) -> tuple[bytes, dict[str, str]]:
    """A multipart edit of `pictures` with a mask, and its content type."""
    files = [("image[]", ("a.png", picture, "image/png")) for picture in pictures]
    files.append(("mask", ("mask.png", mask(), "image/png")))
    request = httpx.Request("POST", "http://app", data=REQUEST, files=files)
    return request.read(), {"content-type": request.headers["content-type"]}


async def post(door: Door, headers: Mapping[str, str] = KEY, **fields: Any) -> Response:
    body = json.dumps({**REQUEST, **fields}).encode()
    return await call(door, body, headers={"content-type": "application/json", **headers})


async def post_form(door: Door, sent: tuple[bytes, dict[str, str]]) -> Response:
    return await call(door, sent[0], headers={**sent[1], **KEY})


async def content(answer: Response) -> bytes:
    """The whole body of an answer, streamed or not."""
    if not isinstance(answer, StreamingResponse):
        return bytes(answer.body)
    return b"".join([bytes(piece) async for piece in answer.body_iterator])


async def read(answer: Response, status: int = 200) -> Any:
    """The JSON of an answer that has this status."""
    body = await content(answer)
    assert answer.status_code == status, body[:500]
    return json.loads(body)


def error(answer: Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, json.loads(bytes(answer.body))["error"]["code"]


def is_replayed(answer: Response) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


def tried(count: int | str, **more: str) -> dict[str, str]:
    """The header of a client that counts its tries."""
    return {"x-stainless-retry-count": str(count), **more}
