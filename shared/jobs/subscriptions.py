"""Subscriptions: who wants to be told when jobs end, and where.

Who comes in: the pipeline, for the subscription door and at the end of each job. Rows of table `jobs`, partition
`subscriptions`: `s:<id>`. The row holds the receiver's URL, whose query may carry a signature, and the secret its
deliveries are signed with; only `get` reads those two. There are at most some more than `MOST` rows, so that all of
them are one page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.images.sources import without_query
from shared.jobs.document import timestamp
from shared.jobs.job import Job, Status
from shared.jobs.rows import Mark, Row, RowChanged, RowExists, Rows, from_text, to_text

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

PARTITION = "subscriptions"
MOST = 1_000
MOST_OF_A_CALLER = 100
ENDS = tuple(status for status in Status if status.ended)
_PAGE = 1_000
_FOR_AN_END = ("RowKey", "owner", "sees_all", "statuses", "created_at")
_SHOWN = (*_FOR_AN_END, "shown_url", "url_hash", "metadata", "failing_since")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A wish to be told of ends of jobs. `sees_all`: of everybody's jobs, as far as its caller saw them all.

    `shown_url` has no query. `failing_since` is when its receiver failed first after it last took something. `url` and
    `secret` (`whsec_` and base64) are read by `get` alone, as is `etag`.
    """

    id: str
    owner: str
    sees_all: bool
    statuses: tuple[Status, ...]
    created_at: datetime
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    shown_url: str = ""
    url_hash: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    failing_since: datetime | None = None
    etag: str | None = None

    def wants(self, job: Job) -> bool:
        """Whether the end of `job` is to be told: its status asked for, seen by the subscriber, later than the wish."""
        seen = self.sees_all or job.owner == self.owner
        return (
            seen and job.status in self.statuses and job.finished_at is not None and self.created_at < job.finished_at
        )


def new_subscription(
    id: str,  # noqa: A002 - the field's name
    *,
    owner: str,
    sees_all: bool,
    url: str,
    secret: str,
    statuses: tuple[Status, ...],
    metadata: Mapping[str, str],
    now: datetime,
) -> Subscription:
    url_hash = hashlib.sha256(url.encode("ascii")).hexdigest()
    shown = without_query(url)
    return Subscription(id, owner, sees_all, statuses, now, url, secret, shown, url_hash, metadata)


def document(subscription: Subscription, *, base: str) -> dict[str, Any]:
    """What answers say of a subscription, without its secret. `base` is what the address of every one begins with."""
    return {
        "id": subscription.id,
        "url": subscription.shown_url,
        "statuses": list(subscription.statuses),
        "jobs": "all" if subscription.sees_all else "own",
        "owner": subscription.owner,
        "created_at": timestamp(subscription.created_at),
        "failing_since": timestamp(subscription.failing_since),
        "metadata": dict(subscription.metadata),
        "links": {"self": f"{base}/{subscription.id}"},
    }


class SubscriptionStore:
    """The rows above. Raises `storage_unavailable` when storage does not answer."""

    def __init__(self, table: TableClient) -> None:
        self._rows = Rows(table)

    async def add(self, subscription: Subscription) -> None:
        """Write a new one; its id is new."""
        try:
            await self._rows.insert(_row(subscription))
        except RowExists:
            return  # our own, whose answer was lost

    async def get(self, subscription_id: str) -> Subscription | None:
        found = await self._rows.get(PARTITION, _key(subscription_id))
        return None if found is None else _subscription(*found)

    async def all(self) -> list[Subscription]:
        """Everybody's, the newest first, without URL and secret."""
        return await self._read(_SHOWN)

    async def for_end(self, job: Job) -> list[str]:
        """The ids of those that want to be told of the end of `job`."""
        return [found.id for found in await self._read(_FOR_AN_END) if found.wants(job)]

    async def remove(self, subscription_id: str) -> None:
        """Delete one; that it is gone already is as good."""
        await self._rows.delete(PARTITION, _key(subscription_id))

    async def failed(self, subscription: Subscription, now: datetime) -> datetime:
        """Note that its receiver did not take something; since when it has been so."""
        if subscription.failing_since is not None:
            return subscription.failing_since
        await self._change(subscription, replace(subscription, failing_since=now))
        return now

    async def took(self, subscription: Subscription) -> None:
        """Note that its receiver takes what it is sent."""
        if subscription.failing_since is not None:
            await self._change(subscription, replace(subscription, failing_since=None))

    async def _change(self, before: Subscription, after: Subscription) -> None:
        assert before.etag is not None, "a subscription that was read by `get` has an ETag"
        try:
            await self._rows.replace(_row(after), before.etag)
        except RowChanged:
            return  # another delivery noted the same, or it was unsubscribed: the next delivery looks again

    async def _read(self, columns: tuple[str, ...]) -> list[Subscription]:
        found: list[Subscription] = []
        mark: Mark | None = None
        while True:
            page = await self._rows.page(PARTITION, "s:", "s;", size=_PAGE, select=columns, after=mark)
            found += [_subscription(row) for row in page.rows]
            if page.next is None:
                return found
            mark = page.next


def _key(subscription_id: str) -> str:
    return f"s:{subscription_id}"


def _row(subscription: Subscription) -> Row:
    return {
        "PartitionKey": PARTITION,
        "RowKey": _key(subscription.id),
        "owner": subscription.owner,
        "sees_all": subscription.sees_all,
        "statuses": ",".join(subscription.statuses),
        "created_at": to_text(subscription.created_at),
        "url": subscription.url,
        "secret": subscription.secret,
        "shown_url": subscription.shown_url,
        "url_hash": subscription.url_hash,
        "metadata": json.dumps(dict(subscription.metadata)),
        "failing_since": to_text(subscription.failing_since),
    }


def _subscription(row: Row, etag: str | None = None) -> Subscription:
    created_at = from_text(row["created_at"])
    assert created_at is not None
    return Subscription(
        id=str(row["RowKey"]).removeprefix("s:"),
        owner=str(row["owner"]),
        sees_all=bool(row["sees_all"]),
        statuses=tuple(map(Status, str(row["statuses"]).split(","))),
        created_at=created_at,
        url=str(row.get("url") or ""),
        secret=str(row.get("secret") or ""),
        shown_url=str(row.get("shown_url") or ""),
        url_hash=str(row.get("url_hash") or ""),
        metadata=json.loads(row.get("metadata") or "{}"),
        failing_since=from_text(row.get("failing_since")),
        etag=etag,
    )
