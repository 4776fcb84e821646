"""One contender in a process of its own: `python -m bench.contender NAME MODEL BLOBS ANSWER COUNT SHA256 REPETITIONS`.

Prints one line of JSON: processor and wall seconds for an image, the most memory it took beyond what it took when
warm, and for Darkroom the longest stall of its event loop. Warm means that one tiny answer went all the way.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from bench import process


class Contender(Protocol):
    def run(self, answer: str) -> list[str]: ...

    def close(self) -> None: ...


def _naive(model: str, blobs: str) -> Contender:
    from bench.naive import Naive

    return Naive(model, blobs)


def _floor(model: str, blobs: str) -> Contender:
    from bench.floor import Floor

    return Floor(model, blobs)


def _floor_kept(model: str, blobs: str) -> Contender:
    from bench.floor import Floor

    return Floor(model, blobs, keep=True)


def _darkroom(model: str, blobs: str) -> Contender:
    from bench.darkroom import Darkroom

    return Darkroom(model, blobs)


def _darkroom_with_provenance(model: str, blobs: str) -> Contender:
    from bench.darkroom import Darkroom

    return Darkroom(model, blobs, provenance=True)


CONTENDERS: dict[str, Callable[[str, str], Contender]] = {
    "naive": _naive,
    "floor": _floor,
    "floor, kept": _floor_kept,
    "darkroom": _darkroom,
    "darkroom+c2pa": _darkroom_with_provenance,
}


def measure(contender: Contender, answer: str, count: int, sha256: str, repetitions: int) -> dict[str, float]:
    contender.run("tiny")
    gc.collect()
    warm = process.resident()
    process.forget_peak()
    _run_checked(contender, answer, count, sha256)
    extra = process.peak() - warm
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(repetitions):
        _run_checked(contender, answer, count, sha256)
    images = repetitions * count
    return {
        "processor": (time.process_time() - processor) / images,
        "wall": (time.perf_counter() - wall) / images,
        "memory": extra,
    }


def _run_checked(contender: Contender, answer: str, count: int, sha256: str) -> None:
    assert contender.run(answer) == [sha256] * count


def main(name: str, model: str, blobs: str, answer: str, count: str, sha256: str, repetitions: str) -> None:
    contender: Any = CONTENDERS[name](model, blobs)
    figures: dict[str, Any] = measure(contender, answer, int(count), sha256, int(repetitions))
    if name.startswith("darkroom"):
        figures["stall"] = contender.longest_stall(answer)
    contender.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
