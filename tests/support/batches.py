"""Batches in the test's own process: what the door, the queue and the timer do with them, and what is stored then."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from functions import batches as door
from shared.jobs.batches import BatchStore
from shared.jobs.files import JobFiles
from shared.pipeline.rooms import rooms
from shared.platform import clients
from tests.support.app_in_process import App
from tests.support.doors import call
from tests.support.pictures import png

REQUEST = {"prompt": "a lighthouse", "quality": "low"}
UNREADABLE = {"prompt": "a lighthouse", "images": [{"blob": "closed/a.png"}]}
"""A request that is good to look at, and whose source turns out not to be there."""
PNG = base64.b64encode(png()).decode()


def requests(number: int) -> list[dict[str, Any]]:
    return [{**REQUEST, "metadata": {"place": str(place)}} for place in range(number)]


async def post(body: Any, status: int = 202, *, kind: str = "", key: str = "") -> dict[str, Any]:
    """The JSON of the door's answer to `body`, which may be bytes or anything JSON can hold, of media type `kind`."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": kind, "idempotency-key": key}
    answer = await call(door.submit_batch, sent, headers={name: value for name, value in given.items() if value})
    assert answer.status_code == status, bytes(answer.body)
    document: dict[str, Any] = json.loads(bytes(answer.body))
    return document


async def get(batch_id: str) -> dict[str, Any]:
    return await _ask(door.get_batch, "GET", batch_id, 200)


async def cancel(batch_id: str, status: int = 200) -> dict[str, Any]:
    return await _ask(door.cancel_batch, "DELETE", batch_id, status)


async def _ask(function: Any, method: str, batch_id: str, status: int) -> dict[str, Any]:
    answer = await call(function, method=method, path_params={"id": batch_id})
    assert answer.status_code == status, bytes(answer.body)
    document: dict[str, Any] = json.loads(bytes(answer.body))
    return document


def jobs_of(app: App, batch_id: str) -> list[str]:
    """The ids of a batch's jobs, in the order of its requests."""
    rows = [row for row in app.storage.rows("jobs") if row["PartitionKey"] == batch_id]
    return [row["job_id"] for row in sorted(rows, key=lambda row: str(row["RowKey"]))]


def rows_of(app: App, kind: str) -> list[dict[str, Any]]:
    """The rows of table `jobs` whose key begins with `kind`: `j` jobs, `l` live ones, `n` work, `o` outbox."""
    return [row for row in app.storage.rows("jobs") if row["RowKey"].startswith(f"{kind}:")]


def told(app: App, what: str = "batch") -> list[str]:
    """The ids of what the outbox still has to tell of: `event`, `callback` or `batch`."""
    keys = [str(row["RowKey"]).split(":") for row in rows_of(app, "o")]
    return [key[2] for key in keys if (key[3:] or ["event"]) == [what]]


async def messages(queue: str = "image-requests") -> list[dict[str, Any]]:
    """The messages of `queue` that can be seen, taken out of it."""
    client = clients.queues().get_queue_client(queue)
    found = []
    async for message in client.receive_messages(messages_per_page=32):
        found.append(json.loads(message.content))
        await client.delete_message(message)
    return found


async def put_clock_forward(seconds: float) -> None:
    """Let the batch store, whose leases end by its clock, believe that `seconds` have passed."""
    present = await rooms()
    store = BatchStore(
        clients.tables().get_table_client("jobs"), clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds)
    )
    clients._kept["rooms"] = dataclasses.replace(present, batches=store)


async def files(batch_id: str) -> JobFiles:
    return (await rooms()).files(batch_id)
