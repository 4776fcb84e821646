"""Jobs page by page, the newest first: what lists are made of.

Who comes in: the pipeline, for a caller's list. A page is one request, or one and a read for each job where the jobs
are a batch's: its rows `c:<index>` of partition `<batch>` (`batch`) name them, in the order of their requests.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.jobs.job import Job, Status
from shared.jobs.outbox import PARTITION
from shared.jobs.records import job_of
from shared.jobs.rows import Mark, Rows

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

_SHOWN = (
    *("id", "kind", "door", "owner", "status", "phase", "batch", "created_at", "started_at", "finished_at"),
    *("attempts", "deployment", "region", "error", "purged_at"),
)
_READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and where the next page begins. Only what a summary shows is filled in, and no ETag."""

    jobs: tuple[Job, ...]
    next: Mark | None


class JobHistory:
    """Reads the rows of table `jobs`. Raises `storage_unavailable`, and `MarkRefused` for a mark that is none."""

    def __init__(self, table: TableClient) -> None:
        self._rows = Rows(table)

    async def newest(
        self, *, size: int, owner: str | None = None, status: Status | None = None, after: Mark | None = None
    ) -> JobPage:
        """The next jobs, of one owner, or of one status, where these are given."""
        where = {"owner": owner, "status": status.value if status else None}
        given = {column: value for column, value in where.items() if value is not None}
        page = await self._rows.page(PARTITION, "j:", "j;", size=size, where=given, select=_SHOWN, after=after)
        return JobPage(tuple(map(job_of, page.rows)), page.next)

    async def of_batch(
        self, batch_id: str, *, size: int, status: Status | None = None, after: Mark | None = None
    ) -> JobPage:
        """The next jobs of a batch. One that is not there yet, or whose status is another, leaves the page short."""
        page = await self._rows.page(batch_id, "c:", "c;", size=size, select=("job_id",), after=after)
        turn = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(job_id: str) -> Job | None:
            async with turn:
                found = await self._rows.get(PARTITION, f"j:{job_id}")
                return job_of(found[0]) if found else None

        found = await asyncio.gather(*(read(str(row["job_id"])) for row in page.rows))
        return JobPage(tuple(job for job in found if job and status in (None, job.status)), page.next)
