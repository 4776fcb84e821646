"""Figures against their targets, as lines a person and a script can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def ratio(value: float) -> str:
    return f"{value:.2f}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def progress(what: str) -> None:
    """A line about what is being measured now, for who waits."""
    print(f"  ... {what}", flush=True)


@dataclass(frozen=True, slots=True)
class Target:
    """Something measured that may be `most` at the most."""

    name: str
    value: float
    most: float
    show: Callable[[float], str] = ratio
    beside: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.most


@dataclass(frozen=True, slots=True)
class Result:
    """What a part of the bench found: its targets, and all figures that the page tells or draws, by name."""

    targets: Sequence[Target]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return all(target.met for target in self.targets)


def report(result: Result) -> Result:
    """Prints each target; hands the result on."""
    for target in result.targets:
        verdict = "pass" if target.met else "MISS"
        beside = f"  ({target.beside})" if target.beside else ""
        print(f"  {verdict}  {target.name}: {target.show(target.value)}, at most {target.show(target.most)}{beside}")
    return result
