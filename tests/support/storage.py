"""What is really in the app's storage account: a test's own look at it, past the app's code."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import TableClient
from azure.storage.blob import ContainerClient

from local.identity import make_token


class StaticCredential:
    """A token of the local identity endpoint, for the storage SDKs."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(make_token("https://storage.azure.com"), int(time.time()) + 3600)


@dataclass(frozen=True, slots=True)
class Storage:
    """`blob` and `table` are the account's service URIs."""

    blob: str
    table: str

    def blobs(self, container: str, *, uncommitted: bool = True) -> list[str]:
        """The names of all blobs of `container`, by default those too of which only pieces were staged."""
        include = ["uncommittedblobs"] if uncommitted else []
        return sorted(item.name for item in _container(self.blob, container).list_blobs(include=include))

    def results_of(self, job_id: str) -> list[str]:
        """File names under `results/` of one job: images and sidecars."""
        return [name.rpartition("/")[2] for name in self.blobs("results") if f"/{job_id}/" in name]

    def requests_of(self, job_id: str) -> list[str]:
        return [name.rpartition("/")[2] for name in self.blobs("requests") if name.startswith(f"{job_id}/")]

    def read(self, name: str) -> bytes:
        """The bytes of `container/name`."""
        container, _, path = name.partition("/")
        return _container(self.blob, container).download_blob(path).readall()

    def delete(self, name: str) -> None:
        container, _, path = name.partition("/")
        _container(self.blob, container).delete_blob(path)

    def container(self, name: str) -> ContainerClient:
        return _container(self.blob, name)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in _table(self.table, table).list_entities()]

    def live_jobs(self) -> set[str]:
        """The ids of the jobs that have not ended, by their `l:` rows."""
        live = _table(self.table, "jobs").query_entities("PartitionKey eq 'jobs' and RowKey ge 'l:' and RowKey lt 'l;'")
        return {str(row["RowKey"]).removeprefix("l:") for row in live}

    def ledger(self, job_id: str) -> list[dict[str, Any]]:
        """The ledger's rows of one job, by the number of the call."""
        return sorted((row for row in self.rows("ledger") if row["job_id"] == job_id), key=lambda row: row["call"])

    def outcomes(self, job_id: str) -> list[str]:
        """What the ledger says of each call of a job."""
        return [row["outcome"] for row in self.ledger(job_id)]

    def end_lease(self, job_id: str) -> None:
        """Let the lease of a job whose runner was killed be over for long: spares a test the 75 s until another may
        take the job over."""
        past = {"PartitionKey": "jobs", "RowKey": f"j:{job_id}", "lease_until": "2026-01-01T00:00:00.000000Z"}
        _table(self.table, "jobs").update_entity(past)

    def forget_pacing(self) -> None:
        """Take back what calls have told everybody about the deployments: out, blocked, stretched."""
        pacing = _table(self.table, "pacing")
        for row in pacing.list_entities():
            pacing.delete_entity(row)


@cache
def _session() -> requests.Session:
    """One for all: a test asks often, and each new connection costs a TLS handshake."""
    return requests.Session()


@cache
def _container(service: str, name: str) -> ContainerClient:
    return ContainerClient(service, name, credential=StaticCredential(), transport=_transport())


@cache
def _table(service: str, name: str) -> TableClient:
    return TableClient(service, name, credential=StaticCredential(), transport=_transport())


def _transport() -> RequestsTransport:
    return RequestsTransport(session=_session(), session_owner=False)
