"""The callers: each door asked as those do who use it, with their patience and their repeats.

A caller is one small method of `Callers`, named as its door. What it was told goes into `Asked`, which the audit holds
against what is stored.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import openai
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from local.state import StackInfo
from tests.chaos.orders import Order
from tests.support.photographs import mask, photograph
from tests.support.storage import StaticCredential

TRIES = 20
"""How often a caller sends the same POST when no answer, or a 5xx, comes back."""
SYNC_TIMEOUT = 240.0


@dataclass(slots=True)
class Asked:
    """What the callers of one order were told. `accepted`: a door said so, or holds the message or the files."""

    order: Order
    accepted: bool = False
    job_ids: set[str] = field(default_factory=set)
    replies: Counter[str] = field(default_factory=Counter)
    images: list[list[str]] = field(default_factory=list)
    """sha256 of the images in each synchronous answer."""
    batch_id: str | None = None

    def take(self, job_id: str) -> None:
        self.accepted = True
        self.job_ids.add(job_id)


class Callers:
    """All who ask. Use it as a context; `ask` and `ask_batch` never raise for what the app answers."""

    def __init__(self, info: StackInfo, seed: str) -> None:
        self._info = info
        self._seed = seed
        headers = {"x-functions-key": info.key}
        self._http = httpx.AsyncClient(base_url=info.app, headers=headers, timeout=SYNC_TIMEOUT, trust_env=False)
        self._openai = openai.AsyncOpenAI(
            base_url=f"{info.app}/openai/v1",
            api_key="unused",
            default_headers=headers,
            timeout=SYNC_TIMEOUT,
            max_retries=10,
        )
        self.requests = self._queue("image-requests")
        self._uploads = ContainerClient(info.blob, "uploads", credential=StaticCredential(), connection_verify=info.ca)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._openai.close()
        self.requests.close()
        self._uploads.close()

    async def ask(self, order: Order) -> Asked:
        """One order through its door, twice if it says so."""
        asked = Asked(order)
        door: Callable[[Order, Asked, random.Random], Awaitable[None]] = getattr(self, order.door)
        copies = 2 if order.twice and order.keyed else 1
        dice = [random.Random(f"{self._seed} {order.tag} {copy}") for copy in range(copies)]
        await asyncio.gather(*(door(order, asked, each) for each in dice))
        return asked

    # -- the doors -------------------------------------------------------------------------------------------------

    async def jobs(self, order: Order, asked: Asked, dice: random.Random) -> None:
        options: dict[str, Any] = {"json": order.request}
        if order.edit:
            fields = {name: str(value) for name, value in order.request.items()}
            options = {"data": fields, "files": _files(order)}
        answer = await self._post("/api/jobs", asked, dice, headers={"Idempotency-Key": order.tag}, **options)
        if answer is None:
            return
        asked.take(answer["id"])
        if order.cancel:
            await asyncio.sleep(dice.uniform(0, 3))
            await self._cancel(answer["id"], asked)

    async def images(self, order: Order, asked: Asked, dice: random.Random) -> None:
        """With the official SDK, which repeats by itself."""
        headers = {"Idempotency-Key": order.tag} if order.keyed else {}
        images = self._openai.images.with_raw_response
        options: dict[str, Any] = {"model": "gpt-image-1", **order.request, "extra_headers": headers}
        try:
            if order.edit:
                answer = await images.edit(image=("image.png", photograph(), "image/png"), **options)
            else:
                answer = await images.generate(**options)
        except openai.APIStatusError as error:
            asked.replies[f"{error.status_code} {_code_of(error.response)}".strip()] += 1
            if job_id := error.response.headers.get("x-darkroom-job"):
                asked.take(job_id)
        except openai.APIConnectionError:
            asked.replies["no answer"] += 1
        else:
            asked.replies["200"] += 1
            asked.take(answer.headers["x-darkroom-job"])
            data = answer.parse().data or []
            asked.images.append([hashlib.sha256(base64.b64decode(item.b64_json or "")).hexdigest() for item in data])

    async def queue(self, order: Order, asked: Asked, dice: random.Random) -> None:
        """A message, plain or base64; its second copy some moments later."""
        text = json.dumps({**order.request, "id": order.tag})
        await asyncio.sleep(dice.uniform(0, 3))
        if dice.random() < 0.5:
            text = base64.b64encode(text.encode()).decode()
        await asyncio.to_thread(self.requests.send_message, text)
        asked.accepted = True
        asked.replies["sent"] += 1

    async def uploads(self, order: Order, asked: Asked, dice: random.Random) -> None:
        """Three files in any order; a third of the folders is written a second time, the same to the byte."""
        files = {
            "image.png": photograph(),
            "mask.png": mask(),
            "request.json": json.dumps({**order.request, "images": ["image.png"], "mask": "mask.png"}).encode(),
        }
        for _ in range(2 if order.twice else 1):
            for name in dice.sample(sorted(files), k=len(files)):
                await asyncio.to_thread(self._uploads.upload_blob, f"{order.tag}/{name}", files[name], overwrite=True)
                await asyncio.sleep(dice.uniform(0, 1))
            asked.replies["uploaded"] += 1
        asked.accepted = True

    async def ask_batch(self, orders: Sequence[Order]) -> list[Asked]:
        """Some orders as one batch; the POST is repeated when the first of them says `twice`."""
        whole = Asked(orders[0])
        body = {"requests": [order.request for order in orders]}
        headers = {"Idempotency-Key": f"batch of {orders[0].tag}"}
        dice = [random.Random(f"{self._seed} {orders[0].tag} {copy}") for copy in range(1 + orders[0].twice)]
        answers = await asyncio.gather(
            *(self._post("/api/batches", whole, each, headers=headers, json=body) for each in dice)
        )
        taken = {answer["id"] for answer in answers if answer is not None}
        assert len(taken) <= 1, f"one Idempotency-Key made the batches {taken}"
        batch_id = next(iter(taken), None)
        return [
            Asked(order, accepted=batch_id is not None, replies=whole.replies, batch_id=batch_id) for order in orders
        ]

    # -- what they share -------------------------------------------------------------------------------------------

    async def _post(self, path: str, asked: Asked, dice: random.Random, **options: Any) -> dict[str, Any] | None:
        """The body of a 202, asked for again while there is hope; None when there is none."""
        for _ in range(TRIES):
            try:
                answer = await self._http.post(path, **options)
            except httpx.TransportError:
                asked.replies["no answer"] += 1
            else:
                asked.replies[f"{answer.status_code} {_code_of(answer)}".strip()] += 1
                if answer.status_code == 202:
                    body: dict[str, Any] = answer.json()
                    return body
                if answer.status_code < 500 and answer.status_code != 429:
                    return None
            await asyncio.sleep(dice.uniform(0.2, 2))
        return None

    async def _cancel(self, job_id: str, asked: Asked) -> None:
        try:
            answer = await self._http.delete(f"/api/jobs/{job_id}")
        except httpx.TransportError:
            asked.replies["cancel: no answer"] += 1
        else:
            asked.replies[f"cancel: {answer.status_code}"] += 1

    def _queue(self, name: str) -> QueueClient:
        return QueueClient(self._info.queue, name, credential=StaticCredential(), connection_verify=self._info.ca)


def _files(order: Order) -> dict[str, Any]:
    files: dict[str, Any] = {"image": ("image.png", photograph(), "image/png")}
    if order.twice:
        files["mask"] = ("mask.png", mask(), "image/png")
    return files


def _code_of(answer: Any) -> str:
    """The code of an error; nothing for what is none of ours."""
    try:
        error = answer.json().get("error")
    except ValueError:
        return ""
    return str(error.get("code", "")) if isinstance(error, dict) else ""
