"""Files of requests that were never accepted: their process was killed between the first file and the job's row, and
nobody was left to discard them. They go after two days, with or without retention. The timer comes in here.

By then nobody is about to write the row: bodies arrive within minutes, a queue message is given up after minutes. A
caller that repeats its key still later finds its files new, and new files keep their folder.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from shared.jobs.files import CONTAINER
from shared.jobs.job import is_id
from shared.jobs.leftovers import after, span_of
from shared.pipeline.rooms import rooms
from shared.platform import clients, folders
from shared.platform.folders import blob_failures

log = logging.getLogger("darkroom")

GRACE = timedelta(days=2)
REACH = timedelta(days=7)
"""How far before the grace the first run looks."""
RUN_SECONDS = 240.0


async def remove(*, now: datetime | None = None) -> int:
    """Remove the folders of all spans that lie before the grace and were not looked at yet; how many there were."""
    room = await rooms()
    newest = (now or datetime.now(UTC)) - GRACE
    span = await room.leftovers.next_span() or span_of(newest - REACH)
    ends = time.monotonic() + RUN_SECONDS
    removed = 0
    while span > span_of(newest) and time.monotonic() < ends:  # ids count down
        found = await _last_written(span)  # before the rows: a row that comes meanwhile is seen
        for folder in found.keys() - await room.leftovers.known(span):
            if is_id(folder) and found[folder] < newest:
                await folders.remove(clients.blobs(), CONTAINER, folder)
                removed += 1
        await room.leftovers.done(span)
        span = after(span)
    if removed:
        log.info("%d folders of requests that were never accepted were removed", removed)
    return removed


async def _last_written(span: str) -> dict[str, datetime]:
    """When the newest file was written in each folder whose name begins with `span`."""
    found: dict[str, datetime] = {}
    with blob_failures():
        async for blob in clients.blobs().get_container_client(CONTAINER).list_blobs(name_starts_with=span):
            folder = str(blob.name).partition("/")[0]
            found[folder] = max(blob.last_modified, found.get(folder, blob.last_modified))
    return found
