"""Subscriptions: the webhook trigger "when an image job ends" of flows, and of whoever else is told of many jobs.

1. A receiver's URL follows the rules of callbacks: https, a host of `CALLBACK_HOSTS`, whose addresses are public. Flows
   cannot answer a challenge, so that the list of hosts is what keeps others from being called.
2. Each subscription has a secret of its own, shown once.
3. Whoever subscribes the same URL again gets a new subscription in place of the former: a flow whose platform repeats
   a request, because its answer was lost, is still told once of each job.

What they are told, and when one is dropped, is `deliveries`' business.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import invalid, missing, one_of, refuse_unknown, wrong_type
from shared.images.metadata import check_metadata
from shared.images.sources import check_url
from shared.jobs import subscriptions as documents
from shared.jobs.job import Status, is_id, new_id
from shared.jobs.subscriptions import ENDS, MOST, MOST_OF_A_CALLER, Subscription, new_subscription
from shared.pipeline import urls
from shared.pipeline.rooms import Rooms, rooms
from shared.platform.destinations import OutboundError
from shared.platform.principals import Caller
from shared.settings import settings

log = logging.getLogger("darkroom")

_FIELDS = ("url", "statuses", "metadata")
_SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64
_LOOK_UP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller subscribes to, checked as far as it says itself."""

    url: str
    statuses: tuple[Status, ...]
    metadata: Mapping[str, str]


async def subscribe(data: Any, caller: Caller) -> dict[str, Any]:
    """A new subscription as `data` wishes: its document, with the `secret` that is shown this once.

    Raises `DarkroomError` naming the field that is wrong, `too_many_subscriptions`.
    """
    wish = read(data)
    await _check_receiver(wish.url)
    room = await rooms()
    now = datetime.now(UTC)
    made = new_subscription(
        new_id(now),
        owner=caller.owner,
        sees_all=caller.sees_all,
        url=wish.url,
        secret=f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode('ascii')}",
        statuses=wish.statuses,
        metadata=wish.metadata,
        now=now,
    )
    await room.subscriptions.add(made)
    await _make_room(room, made)
    return {**document(made), "secret": made.secret}


async def find(subscription_id: str, caller: Caller) -> dict[str, Any]:
    """The document of the caller's subscription. Raises `not_found` for an unknown one, or another's."""
    found = await _get(subscription_id)
    if found is None or not caller.may_see(found.owner):
        raise _unknown()
    return document(found)


async def listed(caller: Caller) -> dict[str, Any]:
    """What the caller may see, the newest first: `{"data": [...]}`."""
    found = await (await rooms()).subscriptions.all()
    return {"data": [document(one) for one in found if caller.may_see(one.owner)]}


async def unsubscribe(subscription_id: str, caller: Caller) -> None:
    """End the caller's subscription. One that is gone (dropped, replaced, ended by a request whose answer was lost) is
    as good, and one of another's is left alone without a word. Raises `not_found` for what is no id."""
    if not is_id(subscription_id):
        raise _unknown()
    found = await _get(subscription_id)
    if found is not None and caller.may_see(found.owner):
        await (await rooms()).subscriptions.remove(found.id)


def document(subscription: Subscription) -> dict[str, Any]:
    return documents.document(subscription, base=f"{settings().public_base_url}/api/subscriptions")


def read(data: Any) -> Wish:
    """`{"url": "https://...", "statuses": [...], "metadata": {...}}`, held against the rules that need no network."""
    if not isinstance(data, Mapping):
        raise DarkroomError("invalid_type", "Expected the request to be a JSON object.")
    refuse_unknown(data, _FIELDS)
    if data.get("url") is None:
        raise missing("url", "Send the https URL that ended jobs are to be POSTed to.")
    if not isinstance(data["url"], str):
        raise wrong_type("url", "a string", data["url"])
    url = check_url("url", data["url"])
    try:
        urls.callback_hosts().destination(url)
    except OutboundError as error:
        raise _not_called(error) from error
    metadata = data.get("metadata")
    return Wish(url, _statuses(data.get("statuses")), check_metadata({} if metadata is None else metadata))


def _statuses(value: Any) -> tuple[Status, ...]:
    if value is None:
        return ENDS
    if not isinstance(value, list):
        raise wrong_type("statuses", "an array of statuses", value)
    if not value:
        raise invalid(
            "statuses", f"Invalid 'statuses': name at least one of {', '.join(ENDS)}, or leave it out for all."
        )
    for position, name in enumerate(value):
        param = f"statuses[{position}]"
        if not isinstance(name, str):
            raise wrong_type(param, "a string", name)
        one_of(param, name, ENDS)
    return tuple(status for status in ENDS if status in value)


async def _check_receiver(url: str) -> None:
    """Look up the host now, so that a URL nothing would be sent to is refused while somebody reads why. Each delivery
    looks again."""
    from shared.platform.outbound import Outbound

    try:
        await Outbound(urls.callback_hosts(), _LOOK_UP_SECONDS).check(url)
    except OutboundError as error:
        raise _not_called(error) from error


async def _make_room(room: Rooms, made: Subscription) -> None:
    """Remove what `made` replaces, or `made` itself where there are too many. Looked at when `made` is there: of two
    who subscribe the same URL at the same time, the later one is left."""
    everybodys = await room.subscriptions.all()
    own = [one for one in everybodys if one.owner == made.owner]
    former = [one for one in own if one.url_hash == made.url_hash and one.id > made.id]  # ids count down
    if len(everybodys) - len(former) > MOST or (not made.sees_all and len(own) - len(former) > MOST_OF_A_CALLER):
        await room.subscriptions.remove(made.id)
        raise DarkroomError(
            "too_many_subscriptions",
            f"There are {MOST_OF_A_CALLER} subscriptions of yours, or {MOST} of all callers: DELETE one that is not "
            "needed any more.",
        )
    for one in former:
        await room.subscriptions.remove(one.id)
        log.info("subscription %s takes the place of %s: both name the same receiver", made.id, one.id)


async def _get(subscription_id: str) -> Subscription | None:
    return await (await rooms()).subscriptions.get(subscription_id) if is_id(subscription_id) else None


def _not_called(error: OutboundError) -> DarkroomError:
    return DarkroomError("invalid_value", f"'url' {error}; name a receiver that may be called.", param="url")


def _unknown() -> DarkroomError:
    return DarkroomError("not_found", "There is no such subscription.", param="id")
