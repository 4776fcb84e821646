"""What is asked for: orders for every door, the same for the same seed. Pure.

An order's tag stands in its prompt, so that a call at the model server, a stored request and a job can each be traced
to the order they come from.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DOORS = ("jobs", "images", "queue", "uploads", "batches")
BATCH_SIZE = 10

_SHARES = {"jobs": 5, "images": 4, "queue": 5, "uploads": 3, "batches": 3}
_TAG = re.compile(r"\bchaos-\d{4}\b")
_SUBJECTS = ("a lighthouse", "a red boat", "a cat on a sofa", "mountains at dusk", "an apple", "a bridge in the fog")


@dataclass(frozen=True, slots=True)
class Order:
    """One picture that somebody wants. `request` is what a generation is; an edit gets its source at the door.

    `at` is when it is asked for, in seconds from the start. `twice`: it comes to the door twice, as retries and queues
    do. `keyed`: it carries what makes the two one (`Idempotency-Key`, a message's `id`). `cancel`: its caller thinks
    better of it a moment later.
    """

    tag: str
    door: str
    at: float
    request: dict[str, Any]
    edit: bool = False
    twice: bool = False
    keyed: bool = False
    cancel: bool = False

    @property
    def is_refused_by_us(self) -> bool:
        """Whether the request is one that Darkroom does not accept."""
        return str(self.request["size"]) == "1x1"


def plan(seed: str, count: int, seconds: float, doors: Sequence[str] = DOORS) -> list[Order]:
    """`count` orders, spread over `seconds` and over `doors`; those of a batch are asked for at once."""
    dice = random.Random(f"{seed} orders")
    shares = [_SHARES[door] for door in doors]
    wanted = dice.choices(doors, shares, k=count)
    for place, door in enumerate(doors):  # a small plan has each door too
        wanted[place % count] = door
    orders = [_order(dice, number, door, dice.uniform(0, seconds)) for number, door in enumerate(wanted)]
    return sorted(orders, key=lambda order: (order.at, order.tag))


def batches(orders: Sequence[Order]) -> list[list[Order]]:
    """The orders of door `batches`, put together; each batch is asked for when its first order is."""
    members = [order for order in orders if order.door == "batches"]
    return [members[start : start + BATCH_SIZE] for start in range(0, len(members), BATCH_SIZE)]


def tag_of(text: str) -> str | None:
    """The tag in a prompt."""
    found = _TAG.search(text)
    return found[0] if found else None


def _order(dice: random.Random, number: int, door: str, at: float) -> Order:
    tag = f"chaos-{number:04}"
    twice = dice.random() < 1 / 3
    # A synchronous caller has its SDK's retries, and no key; only some programs send one.
    keyed = {"jobs": True, "queue": True, "batches": True, "uploads": False}.get(door, twice)
    request: dict[str, Any] = {"prompt": f"{dice.choice(_SUBJECTS)}, {tag}", "quality": "low", "size": "1024x1024"}
    if dice.random() < 0.15:
        request["n"] = 2
    luck = dice.random()
    if luck < 0.05:
        request["prompt"] += " [[moderation_blocked]]"
    elif luck < 0.10 and door == "queue":
        request["size"] = "1x1"
    return Order(
        tag,
        door,
        round(at, 2),
        request,
        edit=door == "uploads" or (door in ("jobs", "images") and dice.random() < 0.3),
        twice=twice,
        keyed=keyed,
        cancel=door == "jobs" and dice.random() < 0.1,
    )
