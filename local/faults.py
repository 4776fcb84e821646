"""Faults that tests ask of the stack's servers by `PUT /_local/behaviour`: each answers the next `count` requests.

The topic and the key vault come in here; the model server has knobs of its own (`local/model/behaviour.py`).
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

type Fault = dict[str, Any]


def read_faults(wanted: Any, *, members: Set[str], knobs: Set[str] = frozenset()) -> list[Fault]:
    """Return the `faults` of a behaviour, each of which may have `members`; beside them it may have `knobs`.

    Raises ValueError, which says what is wrong.
    """
    if not isinstance(wanted, dict):
        raise ValueError("behaviour is a JSON object")
    if unknown := wanted.keys() - {"faults"} - knobs:
        raise ValueError(f"unknown knobs: {', '.join(sorted(unknown))}")
    faults = wanted.get("faults", [])
    if not isinstance(faults, list) or not all(isinstance(fault, dict) for fault in faults):
        raise ValueError("faults is a list of objects")
    if unknown := {name for fault in faults for name in fault} - members:
        raise ValueError(f"unknown members of a fault: {', '.join(sorted(unknown))}")
    return [{**fault, "count": fault.get("count", 1)} for fault in faults]


def next_fault(faults: list[Fault]) -> Fault:
    """Take the fault of one request off `faults`; empty when none is left."""
    if not faults:
        return {}
    fault = faults[0]
    fault["count"] -= 1
    if fault["count"] <= 0:
        faults.pop(0)
    return fault
