"""The evidence held against the promises: design section 7, points 1 to 3, order by order and call by call. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tests.chaos.calls import Pair, pair_all, wrong
from tests.chaos.doors import Asked
from tests.chaos.evidence import Evidence, JobFacts

ENDS = ("succeeded", "failed", "canceled")
_EVENT_OF = {"succeeded": "Succeeded", "failed": "Failed", "canceled": "Canceled"}


@dataclass(slots=True)
class Account:
    """What became of everything. `violations` says, with ids, what should not be; the rest is for the table."""

    violations: list[str] = field(default_factory=list)
    orders: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Door and what became of the order: a status, or why there is no job."""
    failures: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What the model server saw, and what the ledger says."""
    paid: Counter[int] = field(default_factory=Counter)
    """How many paid calls a job that succeeded took."""
    paid_again: list[str] = field(default_factory=list)
    """Second payments that were allowed, each with its calls."""
    paid_for_nothing: int = 0
    """Paid calls of jobs that did not succeed: their outcome never arrived."""
    passed_only: int = 0
    """Answers that had passed to their callers when the runner was killed that was storing them."""
    images: int = 0
    sidecars: int = 0
    events: int = 0
    events_sent: int = 0
    renewed: int = 0
    """Orders whose first job ended without any call and whose repeat made another."""
    unlisted: list[str] = field(default_factory=list)
    staged: int = 0
    never_accepted: list[str] = field(default_factory=list)


def audit(
    asked: Sequence[Asked], evidence: Evidence, *, after_sweep: Collection[str] = (), again: bool = True
) -> Account:
    """`after_sweep`: the blobs that are there when the app has removed what no job owns. `again`: a job whose runner
    was killed in its call may be called once more (`RETRY_UNKNOWN_OUTCOME=crash`)."""
    account = Account()
    jobs_of = _by_order(asked, evidence, account)
    rows_of = {each.order.tag: [row for job in jobs_of[each.order.tag] for row in job.ledger] for each in asked}
    pairs_of, strays = pair_all(rows_of, evidence.calls)
    account.violations += [f"call {call['sequence']} was ordered by nobody" for call in strays]
    for each in asked:
        _order(each, jobs_of[each.order.tag], account)
        _answers(each, jobs_of[each.order.tag], pairs_of[each.order.tag], account)
        _payments(each, jobs_of[each.order.tag], pairs_of[each.order.tag], account, again=again)
    for job in evidence.jobs.values():
        _job(job, account)
    account.staged = len(evidence.staged)
    _rest(asked, evidence, account)
    _sweep(evidence, after_sweep, account)
    return account


def _by_order(asked: Sequence[Asked], evidence: Evidence, account: Account) -> dict[str, list[JobFacts]]:
    """The jobs of each order, oldest first: by the tag in the stored request, else by what named the job."""
    found: dict[str, dict[str, JobFacts]] = defaultdict(dict)
    for job in evidence.jobs.values():
        if job.tag:
            found[job.tag][job.id] = job
    places: Counter[str] = Counter()
    for each in asked:
        names = set(each.job_ids)
        if each.batch_id:
            children = evidence.children.get(each.batch_id, [])
            names.update(children[places[each.batch_id] : places[each.batch_id] + 1])
            places[each.batch_id] += 1
        key = hashlib.sha256(each.order.tag.encode()).hexdigest()
        if each.order.door == "queue" and (claimed := evidence.claims.get(("queue", key))):
            names.add(claimed)
        for job_id in names:
            if job_id in evidence.jobs:
                found[each.order.tag][job_id] = evidence.jobs[job_id]
            elif job_id in each.job_ids:
                account.violations.append(
                    f"{each.order.tag}: its caller was told of job {job_id}, which does not exist"
                )
    known = {job_id for jobs in found.values() for job_id in jobs}
    account.violations += [f"job {job} was asked for by nobody" for job in sorted(evidence.jobs.keys() - known)]
    # Ids count down: the greatest is the oldest.
    return defaultdict(
        list, {tag: sorted(jobs.values(), key=lambda job: job.id, reverse=True) for tag, jobs in found.items()}
    )


def _order(asked: Asked, jobs: list[JobFacts], account: Account) -> None:
    order = asked.order
    if not jobs:
        account.orders[order.door, "never accepted"] += 1
        if asked.accepted:
            account.violations.append(f"{order.tag} ({order.door}): accepted and lost; told {dict(asked.replies)}")
        return
    last = jobs[-1]
    account.orders[order.door, last.status] += 1
    for earlier in jobs[:-1]:
        if earlier.status == "failed" and not earlier.row["attempts"] and order.door in ("jobs", "images"):
            account.renewed += 1  # nothing was called for it, and its caller asked again
        else:
            ids = [job.id for job in jobs]
            account.violations.append(f"{order.tag} ({order.door}): one order, several jobs: {ids}")
            break
    if order.is_refused_by_us and (last.status, last.ledger) != ("failed", []):
        account.violations.append(f"{order.tag}: a request that cannot be accepted: {last.status}, calls {last.ledger}")


def _answers(asked: Asked, jobs: list[JobFacts], pairs: list[Pair], account: Account) -> None:
    """What a caller got is what is stored; or what the model sent, where the runner was killed after the answer had
    passed and before it was stored: the job then says that its outcome is unknown."""
    stored = [[image.promised for image in job.images] for job in jobs]
    passed = [
        [image["sha256"] for image in pair.call["images"]]
        for pair in pairs
        if pair.call is not None and pair.may_be_paid_again
    ]
    for answered in asked.images:
        if answered in stored:
            continue
        if answered in passed and jobs and jobs[-1].status == "failed":
            account.passed_only += 1
        else:
            account.violations.append(f"{asked.order.tag}: a caller got images that are not those stored")


def _payments(asked: Asked, jobs: list[JobFacts], pairs: list[Pair], account: Account, *, again: bool) -> None:
    tag = asked.order.tag
    for each in pairs:
        account.calls[each.seen, each.outcome] += 1
        if reason := wrong(each):
            account.violations.append(f"{tag}: {reason}: {each}")
    paid = [each for each in pairs if each.paid]
    if jobs and jobs[-1].status == "succeeded":
        account.paid[len(paid)] += 1
        _bytes_are_those_sent(tag, jobs[-1], paid, account)
    else:
        account.paid_for_nothing += len(paid)
    if len(paid) > 1:
        story = f"{tag} ({asked.order.door}): " + "; ".join(str(each) for each in pairs)
        if again and asked.order.door != "images" and len(paid) == 2 and paid[0].may_be_paid_again:
            account.paid_again.append(story)
        else:
            account.violations.append(f"paid {len(paid)} times: {story}")
    refusals = [each for each in pairs if each.row is not None and each.row.get("error_code") == "moderation_blocked"]
    if len(refusals) > 1:
        account.violations.append(f"{tag}: refused by moderation and asked again")


def _bytes_are_those_sent(tag: str, job: JobFacts, paid: list[Pair], account: Account) -> None:
    sent = [[image["sha256"] for image in each.call["images"]] for each in paid if each.call is not None]
    if [image.promised for image in job.images] not in sent:
        account.violations.append(f"{tag}: the images of job {job.id} are not those the model made")


def _job(job: JobFacts, account: Account) -> None:
    if job.status not in ENDS or job.row.get("phase"):
        account.violations.append(f"job {job.id} has not ended: {job.status}, {job.row.get('phase')}")
        return
    if job.status == "failed":
        account.failures[job.error_code] += 1
    expected = f"{job.id}/{job.status}"
    ids = {event["id"] for event in job.events}
    if ids != {expected} or any(event["type"] != f"Darkroom.Job.{_EVENT_OF[job.status]}" for event in job.events):
        account.violations.append(f"job {job.id} is {job.status}, its events are {sorted(ids) or 'none'}")
    account.events += len(ids)
    account.events_sent += len(job.events)
    if job.status == "succeeded":
        wanted = int((job.request or {}).get("n", 1))
        if len(job.images) != wanted:
            account.violations.append(f"job {job.id} succeeded with {len(job.images)} of {wanted} images")
    for image in job.images:
        account.images += 1
        if image.sha256 != image.promised:
            account.violations.append(f"job {job.id}: {image.blob} is {image.sha256 or 'not there'}")
        if image.served not in (None, (image.promised, image.promised)):
            account.violations.append(f"job {job.id}: {image.blob} is served as {image.served}")
        if image.sidecar is None:
            account.violations.append(f"job {job.id}: {image.blob} has no sidecar")
        elif (image.sidecar["job"], image.sidecar["sha256"]) != (job.id, image.promised):
            account.violations.append(f"job {job.id}: the sidecar of {image.blob} is of another image")
        else:
            account.sidecars += 1
    account.unlisted += [f"{job.id}/{name}" for name in job.unlisted]


def _rest(asked: Sequence[Asked], evidence: Evidence, account: Account) -> None:
    """What is left over: rows of jobs on their way, blobs of nobody, batches that do not add up."""
    if evidence.live or evidence.outbox:
        account.violations.append(f"rows of what has not ended: {evidence.live + evidence.outbox}")
    account.violations += [f"ledger row {row['RowKey']} has no job" for row in evidence.ledger_without_job]
    for folder, files in sorted(evidence.orphans.items()):
        story = f"{folder}: {', '.join(sorted(files))}"
        if folder.startswith("requests/") and "result.json" not in files:
            account.never_accepted.append(story)
        else:
            account.violations.append(f"blobs without a job: {story}")
    _batches(asked, evidence, account)


def _sweep(evidence: Evidence, after_sweep: Collection[str], account: Account) -> None:
    if not after_sweep and not evidence.blobs:
        return
    orphans = {f"{folder}/{file}" for folder, files in evidence.orphans.items() for file in files}
    account.violations += [f"the app does not remove {name}" for name in sorted(orphans & set(after_sweep))]
    account.violations += [
        f"the app removed {name}, which is a job's" for name in sorted(evidence.blobs - orphans - set(after_sweep))
    ]


def _batches(asked: Sequence[Asked], evidence: Evidence, account: Account) -> None:
    for batch_id, row in evidence.batches.items():
        members = [each for each in asked if each.batch_id == batch_id]
        children = [evidence.jobs[job_id] for job_id in evidence.children[batch_id] if job_id in evidence.jobs]
        tags = [child.tag for child in children]
        if members and tags != [each.order.tag for each in members]:
            account.violations.append(f"batch {batch_id}: its jobs are {tags}")
        counts = Counter(child.status for child in children)
        if any(int(row[end]) != counts[end] for end in ENDS) or int(row["total"]) != len(children):
            account.violations.append(
                f"batch {batch_id}: counts { ({end: row[end] for end in ENDS}) }, jobs {dict(counts)}"
            )
        if len(evidence.batch_events.get(batch_id, ())) != 1:
            account.violations.append(f"batch {batch_id}: events {sorted(evidence.batch_events.get(batch_id, ()))}")
    if "?" in evidence.batch_events:
        account.violations.append(f"events of nobody: {sorted(evidence.batch_events['?'])}")
