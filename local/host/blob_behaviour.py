"""How blob events misbehave when asked, and what became of them: `/admin/_local/blob-events`, docs/local.md.

`frontend.py` reads what was PUT with `read_behaviour`; `blob_events.py` acts on it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any


class BehaviourError(ValueError):
    """What was PUT is no behaviour; the message names the member."""


@dataclass(frozen=True)
class Behaviour:
    """`duplicate` is a probability, `delay_seconds` the ends of a range; `seed` makes the choices repeatable."""

    duplicate: float = 0.0
    delay_seconds: tuple[float, float] = (0.0, 0.0)
    shuffle: bool = False
    hold: bool = False
    seed: int | None = None


@dataclass
class Counters:
    """Writes seen; deliveries taken, duplicates among them; attempts that failed; deliveries to come, some held."""

    seen: int = 0
    delivered: int = 0
    duplicates: int = 0
    failed: int = 0
    waiting: int = 0
    held: int = 0


def shown(behaviour: Behaviour, counters: Counters) -> dict[str, Any]:
    """The answer of the door."""
    return {"behaviour": asdict(behaviour), **asdict(counters)}


def read_behaviour(wanted: Any) -> Behaviour:
    """The behaviour that a JSON value describes. Raises BehaviourError."""
    if not isinstance(wanted, dict):
        raise BehaviourError("a behaviour is a JSON object")
    known = [field.name for field in fields(Behaviour)]
    if unknown := wanted.keys() - set(known):
        raise BehaviourError(f"unknown members: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    duplicate = wanted.get("duplicate", 0.0)
    if not _is_number(duplicate) or duplicate > 1:
        raise BehaviourError("duplicate is a probability from 0 to 1")
    delay = wanted.get("delay_seconds", 0.0)
    ends = delay if isinstance(delay, list) else [delay, delay]
    if len(ends) != 2 or not all(map(_is_number, ends)) or ends[0] > ends[1]:
        raise BehaviourError("delay_seconds is a number of seconds or a range [least, most]")
    for name in ("shuffle", "hold"):
        if not isinstance(wanted.get(name, False), bool):
            raise BehaviourError(f"{name} is true or false")
    seed = wanted.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise BehaviourError("seed is a whole number")
    return Behaviour(
        duplicate=float(duplicate),
        delay_seconds=(float(ends[0]), float(ends[1])),
        shuffle=wanted.get("shuffle", False),
        hold=wanted.get("hold", False),
        seed=seed,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
