"""The rooms of this process, wired to its clients once."""

from __future__ import annotations

from dataclasses import dataclass

from shared.delivery.links import ResultLinks
from shared.errors import DarkroomError
from shared.jobs.batches import BatchQueue, BatchStore
from shared.jobs.expiry import Expiry
from shared.jobs.files import JobFiles
from shared.jobs.history import JobHistory
from shared.jobs.idempotency import Idempotency
from shared.jobs.ledger import Ledger
from shared.jobs.leftovers import Leftovers
from shared.jobs.outbox import Outbox
from shared.jobs.pacing import Pacer
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.jobs.subscriptions import SubscriptionStore
from shared.jobs.upload_folder import UploadFolder
from shared.jobs.uploads import UploadOwners, UploadQueue
from shared.platform import clients
from shared.platform.blobs import BlobClient
from shared.settings import settings


@dataclass(frozen=True, slots=True)
class Rooms:
    store: JobStore
    history: JobHistory
    expiry: Expiry
    leftovers: Leftovers
    outbox: Outbox
    queue: JobQueue
    batches: BatchStore
    batch_queue: BatchQueue
    pacer: Pacer
    ledger: Ledger
    idempotency: Idempotency
    blobs: BlobClient
    links: ResultLinks
    upload_owners: UploadOwners
    upload_queue: UploadQueue
    subscriptions: SubscriptionStore

    def files(self, job_id: str) -> JobFiles:
        return JobFiles(self.blobs, clients.blobs(), job_id)

    def upload(self, folder: str) -> UploadFolder:
        return UploadFolder(clients.blobs(), folder)


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
        history=JobHistory(jobs),
        expiry=Expiry(jobs, clients.tables().get_table_client("ledger")),
        leftovers=Leftovers(jobs),
        outbox=Outbox(jobs),
        queue=JobQueue(clients.queues().get_queue_client("image-requests")),
        batches=BatchStore(jobs),
        batch_queue=BatchQueue(clients.queues().get_queue_client("image-batches")),
        pacer=Pacer(clients.tables().get_table_client("pacing")),
        ledger=Ledger(clients.tables().get_table_client("ledger")),
        idempotency=Idempotency(clients.tables().get_table_client("idempotency")),
        blobs=BlobClient(clients.storage_http(), current.blob_service_uri, clients.storage_bearer()),
        links=ResultLinks(clients.blobs(), current.result_link_minutes),
        upload_owners=UploadOwners(jobs),
        upload_queue=UploadQueue(clients.queues().get_queue_client("image-uploads")),
        subscriptions=SubscriptionStore(jobs),
    )
