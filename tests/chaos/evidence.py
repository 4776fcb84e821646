"""What is there at the end, read past the app: rows, blobs, events, and the model server's own list of calls."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from local.state import StackInfo
from tests.chaos.orders import tag_of
from tests.support import peers
from tests.support.model_control import ModelControl
from tests.support.storage import Storage

CONTAINERS = ("requests", "results")


@dataclass(slots=True)
class StoredImage:
    """An image that `result.json` lists. `sha256` and `sidecar` are of what is really in storage; None: not there."""

    blob: str
    promised: str
    sha256: str | None
    sidecar: dict[str, Any] | None
    served: tuple[str, str] | None = None
    """ETag and sha256 of the body with which `GET /api/images` answered, where it was asked."""


@dataclass(slots=True)
class JobFacts:
    """A job's row, and all that belongs to it."""

    row: dict[str, Any]
    tag: str | None = None
    request: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    images: list[StoredImage] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    """Blobs under results/ that `result.json` does not list: what an attempt left that did not come to its end."""
    ledger: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def status(self) -> str:
        return str(self.row["status"])

    @property
    def error_code(self) -> str:
        return str(json.loads(self.row["error"])["code"]) if self.row.get("error") else ""


@dataclass(slots=True)
class Evidence:
    jobs: dict[str, JobFacts]
    batches: dict[str, dict[str, Any]]
    children: dict[str, list[str]]
    """The jobs of each batch, in the order of its requests."""
    claims: dict[tuple[str, str], str]
    """The job that each idempotency row (owner, sha256 of the key) names."""
    live: list[str]
    outbox: list[str]
    calls: list[dict[str, Any]]
    ledger_without_job: list[dict[str, Any]]
    blobs: set[str]
    """`container/name` of all in containers requests and results."""
    staged: set[str]
    """What was staged there in part by a runner that was killed meanwhile, and is no blob."""
    orphans: dict[str, list[str]]
    """By folder, those of them that no job or batch owns."""
    batch_events: dict[str, set[str]]
    """The ids of the events of each batch; under `?` those of jobs that are not there."""


def gather(info: StackInfo, *, progress: Callable[[str], None]) -> Evidence:
    storage = Storage(info.blob, info.table)
    rows = storage.rows("jobs")
    jobs = {row["id"]: JobFacts(row) for row in rows if str(row["RowKey"]).startswith("j:")}
    batches = {row["id"]: row for row in rows if str(row["RowKey"]).startswith("b:")}
    strays = _ledger(storage, jobs)
    batch_events = _events(info, jobs)
    orphans = _blobs(storage, jobs, set(batches), progress)
    children: dict[str, list[str]] = {batch: [] for batch in batches}
    for row in sorted(rows, key=lambda row: str(row["RowKey"])):
        if row["PartitionKey"] in children and str(row["RowKey"]).startswith("c:"):
            children[row["PartitionKey"]].append(str(row["job_id"]))
    return Evidence(
        jobs=jobs,
        batches=batches,
        children=children,
        claims={
            (row["PartitionKey"], row["RowKey"]): row["job_id"]
            for row in storage.rows("idempotency")
            if "job_id" in row
        },
        live=[str(row["RowKey"]) for row in rows if str(row["RowKey"]).startswith("l:")],
        outbox=[str(row["RowKey"]) for row in rows if str(row["RowKey"]).startswith("o:")],
        calls=ModelControl(info.model).calls(),
        ledger_without_job=strays,
        blobs=blobs(info),
        staged=blobs(info, uncommitted=True),
        orphans=orphans,
        batch_events=batch_events,
    )


def ask_for_images(info: StackInfo, jobs: Iterable[JobFacts]) -> None:
    """Note how the app serves the first image of each of `jobs`."""
    for facts in jobs:
        url = f"{info.app}/api/images/{facts.id}/0"
        answer = peers.fetch(info, "GET", url, headers={"x-functions-key": info.key})
        etag = answer.headers.get("etag", "").strip('"')
        facts.images[0].served = (etag, hashlib.sha256(answer.content).hexdigest())


def blobs(info: StackInfo, *, uncommitted: bool = False) -> set[str]:
    """The names, with their container, of all blobs that jobs have or could have; or only of those that were staged in
    part and never became blobs, which storage drops by itself after a week."""
    storage = Storage(info.blob, info.table)
    found = {f"{container}/{name}" for container in CONTAINERS for name in storage.blobs(container, uncommitted=False)}
    if not uncommitted:
        return found
    return {f"{container}/{name}" for container in CONTAINERS for name in storage.blobs(container)} - found


def moment(text: str) -> float:
    """Seconds since the epoch of a time as rows keep it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def _ledger(storage: Storage, jobs: dict[str, JobFacts]) -> list[dict[str, Any]]:
    strays = []
    for row in sorted(storage.rows("ledger"), key=lambda row: (row["job_id"], row["call"])):
        if row["job_id"] in jobs:
            jobs[row["job_id"]].ledger.append(row)
        else:
            strays.append(row)
    return strays


def _events(info: StackInfo, jobs: dict[str, JobFacts]) -> dict[str, set[str]]:
    """Give each job its events; the ids of the events of batches by batch."""
    batch_events: dict[str, set[str]] = defaultdict(set)
    for event in peers.all_events(info):
        kind, _, name = str(event["subject"]).partition("/")
        if kind == "batches":
            batch_events[name].add(event["id"])
        elif name in jobs:
            jobs[name].events.append(event)
        else:
            batch_events["?"].add(event["id"])
    return batch_events


def _blobs(
    storage: Storage, jobs: dict[str, JobFacts], batches: set[str], progress: Callable[[str], None]
) -> dict[str, list[str]]:
    """Read what each job stored; the blobs that are nobody's, by folder."""
    orphans: dict[str, list[str]] = defaultdict(list)
    for name in storage.blobs("requests", uncommitted=False):
        folder, _, file = name.partition("/")
        if folder in jobs and file == "request.json":
            jobs[folder].request = json.loads(storage.read(f"requests/{name}"))["request"]
            jobs[folder].tag = tag_of(str((jobs[folder].request or {}).get("prompt", "")))
        elif folder in jobs and file == "result.json":
            jobs[folder].result = json.loads(storage.read(f"requests/{name}"))
        elif folder not in jobs and folder not in batches:
            orphans[f"requests/{folder}"].append(file)
    listed = set(storage.blobs("results", uncommitted=False))
    for name in listed:
        folder, _, file = name.rpartition("/")
        owner = folder.rpartition("/")[2]
        if owner in jobs:
            jobs[owner].unlisted.append(file)
        else:
            orphans[f"results/{folder}"].append(file)
    for number, facts in enumerate(jobs.values()):
        if number % 50 == 49:
            progress(f"read the images of {number + 1} of {len(jobs)} jobs")
        for image in (facts.result or {}).get("images", []):
            facts.images.append(_image(storage, image, listed))
            stem = str(image["blob"]).rpartition("/")[2]
            known = {stem, f"{stem.rpartition('.')[0]}.json"}
            facts.unlisted = [file for file in facts.unlisted if file not in known]
    return dict(orphans)


def _image(storage: Storage, image: dict[str, Any], listed: set[str]) -> StoredImage:
    name = str(image["blob"]).removeprefix("results/")
    sidecar = f"{name.rpartition('.')[0]}.json"
    return StoredImage(
        blob=image["blob"],
        promised=image["sha256"],
        sha256=hashlib.sha256(storage.read(image["blob"])).hexdigest() if name in listed else None,
        sidecar=json.loads(storage.read(f"results/{sidecar}")) if sidecar in listed else None,
    )
