"""Passing through: what Darkroom adds to an answer of the model, beside what others add that stand in its place.

One client who pauses between requests: what one adds is how much later it has its answer. What is left to do behind an
answer is in the requests a second of 16 clients who do not pause. Null storage, pacing off, no model time; the bench
plays the host towards the worker. The contenders take turns within each of many short rounds; what one adds is the
median over the rounds of how much longer it took than the model itself did in that round. Beside it, without a target,
the whole local stack: host and Azurite.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import answers, clients, contenders, process, whole_stack
from bench.answers import Answers
from bench.contenders import DARKROOM, DIRECT, LITELLM, PASS_THROUGH, PASS_THROUGH_NEW, Contender
from bench.report import Result, Target, megabytes, milliseconds, ratio, report
from local.certificates import ensure_certificates

TO_PASS_THROUGH: Final = {"small": 4.0, "n4": 2.0}
TIMES_LITELLM: Final = 3.0
CLIENTS: Final = 16
_REPETITIONS: Final = {"small": 20, "n4": 4}
_WARM: Final = 3
_PAUSES: Final = {"small": 0.05, "n4": 0.1}
"""Seconds, in which those who store an answer behind its caller's back have done so."""
_BURSTS: Final = 3
_NAMES: Final = {"small": "0.14 MB", "n4": "4 images of 3 MB"}

Seconds = dict[tuple[str, str], list[float]]
"""By contender and answer: the median of each round."""


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found."""
    print(f"\nPassing through: added to the model's own answer; requests a second of {CLIENTS} clients")
    rounds = 3 if quick else 10
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        certificates = ensure_certificates(directory / "certificates")
        given = answers.write(directory)
        with contenders.field(directory, certificates, given.files) as field:
            whole = whole_stack.seconds(field, directory, tuple(_REPETITIONS), 10 if quick else 25)
            there = field.start(contenders.ALL)
            for contender in there:
                _check(contender, given)
            idle = {contender.name: process.resident(contender.pid) for contender in there}
            seconds, rates = _rounds(there, rounds, 1.5 if quick else 4.0)
            peaks = {contender.name: process.peak(contender.pid) for contender in there}
    return report(_result(seconds, rates, whole, idle, peaks))


def _check(contender: Contender, given: Answers) -> None:
    for answer in _REPETITIONS:
        with contender.connect() as connection:
            pieces: list[bytes] = []
            contender.ask(connection, answer, lambda piece, pieces=pieces: pieces.append(bytes(piece)))  # type: ignore[misc]
            given.check(answer, b"".join(pieces))


def _rounds(there: list[Contender], rounds: int, burst: float) -> tuple[Seconds, dict[str, list[float]]]:
    seconds: Seconds = {}
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for answer, contender in itertools.product(_REPETITIONS, there):
            seconds.setdefault((contender.name, answer), []).append(_median(contender, answer))
    for contender in there * _BURSTS:
        rates.setdefault(contender.name, []).append(rate(contender, "small", burst))
    return seconds, rates


def _median(contender: Contender, answer: str) -> float:
    taken = []
    with contender.connect() as connection:
        for number in range(_WARM + _REPETITIONS[answer]):
            time.sleep(_PAUSES[answer])
            begun = time.perf_counter()
            head = contender.ask(connection, answer, len)
            if number >= _WARM:
                taken.append(time.perf_counter() - begun)
            clients.accepted(head)
    return statistics.median(taken)


def rate(contender: Contender, answer: str, seconds: float) -> float:
    """Requests a second of `CLIENTS` clients, each of which asks again once it was answered."""
    counts = [0] * CLIENTS
    begun = time.perf_counter()

    def client(number: int) -> None:
        with contender.connect() as connection:
            while time.perf_counter() < begun + seconds:
                clients.accepted(contender.ask(connection, answer, len))
                counts[number] += 1

    clients.at_once(CLIENTS, client)
    return sum(counts) / (time.perf_counter() - begun)


def _result(
    seconds: Seconds,
    rates: Mapping[str, list[float]],
    whole: Mapping[str, float],
    idle: Mapping[str, int],
    peaks: Mapping[str, int],
) -> Result:
    added = {
        name: {answer: statistics.median(_added(seconds, name, answer)) for answer in _REPETITIONS}
        for name in contenders.ALL
        if name != DIRECT
    }
    direct = {answer: statistics.median(seconds[DIRECT, answer]) for answer in _REPETITIONS}
    per_second = {name: statistics.median(found) for name, found in rates.items()}
    for name in contenders.ALL:
        shown = (
            f"{milliseconds(direct[answer])}" if name == DIRECT else f"+{milliseconds(added[name][answer])}"
            for answer in _REPETITIONS
        )
        memory = "" if name == DIRECT else f", memory {megabytes(idle[name])}, at most {megabytes(peaks[name])}"
        print(f"  {name}: {', '.join(shown)}; {per_second[name]:.0f} requests a second{memory}")
    over = {answer: whole[answer] - direct[answer] for answer in _REPETITIONS}
    print("  the whole local stack, host and Azurite: " + ", ".join(f"+{milliseconds(one)}" for one in over.values()))
    to_pass_through = {answer: added[DARKROOM][answer] / added[PASS_THROUGH][answer] for answer in _REPETITIONS}
    to_new = {answer: added[DARKROOM][answer] / added[PASS_THROUGH_NEW][answer] for answer in _REPETITIONS}
    print(f"  to one that asks on new connections, as Darkroom does: {', '.join(map(ratio, to_new.values()))}")
    times_litellm = statistics.median(
        mine / theirs for mine, theirs in zip(rates[DARKROOM], rates[LITELLM], strict=True)
    )
    targets = [
        Target(f"added, to what the pass-through adds, {_NAMES[answer]}", to_pass_through[answer], most)
        for answer, most in TO_PASS_THROUGH.items()
    ]
    targets.append(
        Target(
            "requests a second of LiteLLM, to Darkroom's",
            1 / times_litellm,
            1 / TIMES_LITELLM,
            beside=f"{times_litellm:.1f} times as many",
        )
    )
    figures = {
        "direct_seconds": direct,
        "added_seconds": added,
        "whole_stack_added_seconds": over,
        "to_pass_through": to_pass_through,
        "to_pass_through_new_connections": to_new,
        "requests_per_second": per_second,
        "times_litellm": times_litellm,
        "idle_bytes": {name: idle[name] for name in added},
        "peak_bytes": {name: peaks[name] for name in added},
    }
    return Result(targets, figures)


def _added(seconds: Seconds, name: str, answer: str) -> list[float]:
    """By round: what `name` takes longer than the model itself."""
    pairs = zip(seconds[name, answer], seconds[DIRECT, answer], strict=True)
    return [taken - direct for taken, direct in pairs]
