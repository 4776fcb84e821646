"""The rooms of this process, wired to its clients once."""

from __future__ import annotations

from dataclasses import dataclass

from shared.delivery.blobs import BlobClient
from shared.delivery.links import ResultLinks
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.idempotency import Idempotency
from shared.jobs.ledger import Ledger
from shared.jobs.outbox import Outbox
from shared.jobs.pacing import Pacer
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.platform import clients
from shared.settings import settings


@dataclass(frozen=True, slots=True)
class Rooms:
    store: JobStore
    outbox: Outbox
    queue: JobQueue
    pacer: Pacer
    ledger: Ledger
    idempotency: Idempotency
    blobs: BlobClient
    links: ResultLinks

    def files(self, job_id: str) -> JobFiles:
        return JobFiles(clients.blobs(), job_id)


async def rooms() -> Rooms:
    """Raises `misconfigured` while a setting that no request can do without is missing or wrong."""
    current = settings()
    if not (current.blob_service_uri and current.queue_service_uri and current.table_service_uri):
        raise DarkroomError("misconfigured", "The app's storage is not configured; see /api/health/details.")
    await clients.warm()
    return clients.keep("rooms", _open)


def _open() -> Rooms:
    current = settings()
    jobs = clients.tables().get_table_client("jobs")
    return Rooms(
        store=JobStore(jobs),
        outbox=Outbox(jobs),
        queue=JobQueue(clients.queues().get_queue_client("image-requests")),
        pacer=Pacer(clients.tables().get_table_client("pacing")),
        ledger=Ledger(clients.tables().get_table_client("ledger")),
        idempotency=Idempotency(clients.tables().get_table_client("idempotency")),
        blobs=BlobClient(clients.storage_http(), current.blob_service_uri, clients.storage_bearer()),
        links=ResultLinks(clients.blobs(), current.result_link_minutes),
    )
