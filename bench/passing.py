"""Passing through: what Darkroom adds to an answer of the model, beside what others add that stand in its place.

What one adds is how much later its client has the answer. The client asks again as soon as it was answered, so that
what is left to do behind an answer counts, too; how it is for one who pauses is shown beside it, of Darkroom and of
what it is compared with. Then the requests a second of 16 clients. Null storage, pacing off, no model time; the bench
plays the host towards the worker. "Null storage" is read twice, servers that keep next to nothing and dictionaries in
Darkroom's own process, and held to the same targets.

The contenders take turns within each of many short rounds; what one adds is the median over the rounds of how much
longer it took than the model itself did in that round. Beside it, without a target: all of them once more with the
model asked without TLS, and the whole local stack, host and Azurite.
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import answers, clients, contenders, process, whole_stack
from bench.answers import Answers
from bench.contenders import (
    BARE,
    DARKROOM,
    DARKROOM_IN_PROCESS,
    DIRECT,
    LITELLM,
    PASS_THROUGH,
    PASS_THROUGH_NEW,
    READINGS,
    Contender,
)
from bench.decode import provenance_seconds
from bench.report import Result, Target, megabytes, milliseconds, progress, ratio, report
from local.certificates import ensure_certificates

TO_PASS_THROUGH: Final = {"small": 4.0, "n4": 2.0}
TIMES_LITELLM: Final = 3.0
CLIENTS: Final = 16
_REPETITIONS: Final = {"small": 15, "n4": 6}
_WARM: Final = 2
_PAUSES: Final = {"small": 0.05, "n4": 0.1}
"""Seconds, in which those who store an answer behind its caller's back have done so."""
_NO_PAUSES: Final = dict.fromkeys(_PAUSES, 0.0)
_PAUSED: Final = (DIRECT, PASS_THROUGH, PASS_THROUGH_NEW, DARKROOM, DARKROOM_IN_PROCESS)
_BURSTS: Final = 3
_NAMES: Final = {"small": "0.14 MB", "n4": "4 images of 3 MB"}

Seconds = dict[tuple[str, str], list[float]]
"""By contender and answer: the median of each round."""


@dataclass(slots=True)
class Taken:
    """What the rounds found: `seconds` of a client who does not pause and of one who does; requests a second."""

    seconds: Seconds = field(default_factory=dict)
    paused: Seconds = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found."""
    print(f"\nPassing through: added to the model's own answer; requests a second of {CLIENTS} clients")
    rounds, burst = (3, 1.5) if quick else (8, 3.0)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        certificates = ensure_certificates(directory / "certificates")
        given = answers.write(directory)
        with contenders.field(directory, certificates, given.files) as ground:
            progress("the whole local stack")
            whole = whole_stack.seconds(ground, directory, tuple(_REPETITIONS), 10 if quick else 25)
            progress("the contenders start")
            there = ground.start(contenders.ALL)
            for contender in there:
                _check(contender, given)
            idle = {contender.name: process.resident(contender.pid) for contender in there}
            taken = _rounds(there, rounds, burst)
            peaks = {contender.name: process.peak(contender.pid) for contender in there}
        progress("without TLS")
        with contenders.field(directory / "plain", certificates, given.files, secure=False) as ground:
            plain = _rounds(ground.start(contenders.ALL), rounds, burst, paused=())
        provenance = provenance_seconds(given.image("small"))
    return report(_result(taken, plain, whole, idle, peaks, provenance))


def _check(contender: Contender, given: Answers) -> None:
    for answer in _REPETITIONS:
        with contender.connect() as connection:
            pieces: list[bytes] = []
            contender.ask(connection, answer, lambda piece, pieces=pieces: pieces.append(bytes(piece)))  # type: ignore[misc]
            given.check(answer, b"".join(pieces))


def _rounds(there: list[Contender], rounds: int, burst: float, paused: Sequence[str] = _PAUSED) -> Taken:
    taken = Taken()
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for answer, contender in itertools.product(_REPETITIONS, there):
            key = contender.name, answer
            taken.seconds.setdefault(key, []).append(_median(contender, answer, _NO_PAUSES))
            if contender.name in paused:
                taken.paused.setdefault(key, []).append(_median(contender, answer, _PAUSES))
    for number in range(_BURSTS):
        progress(f"{CLIENTS} clients, {number + 1} of {_BURSTS}")
        for contender in there:
            taken.rates.setdefault(contender.name, []).append(rate(contender, "small", burst))
    return taken


def _median(contender: Contender, answer: str, pauses: Mapping[str, float]) -> float:
    """Seconds of one client's request, of several one after the other."""
    taken = []
    with contender.connect() as connection:
        for number in range(_WARM + _REPETITIONS[answer]):
            time.sleep(pauses[answer])
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
    taken: Taken,
    plain: Taken,
    whole: Mapping[str, float],
    idle: Mapping[str, int],
    peaks: Mapping[str, int],
    provenance: float,
) -> Result:
    direct = {answer: statistics.median(taken.seconds[DIRECT, answer]) for answer in _REPETITIONS}
    added, paused = _added(taken.seconds), _added(taken.paused)
    per_second = {name: statistics.median(found) for name, found in taken.rates.items()}
    print(f"  {DIRECT}: {', '.join(map(milliseconds, direct.values()))}; {per_second[DIRECT]:.0f} requests a second")
    for name, more in added.items():
        pausing = f"; to one who pauses {_more(paused[name])}" if name in paused else ""
        memory = f"memory {megabytes(idle[name])}, at most {megabytes(peaks[name])}"
        print(f"  {name}: {_more(more)}; {per_second[name]:.0f} requests a second, {memory}{pausing}")
    without_tls = _without_tls(plain)
    least = _least(added, provenance)
    print(f"  before anything is kept, of 0.14 MB: {', '.join(map(milliseconds, least.values()))}")
    over = {answer: whole[answer] - direct[answer] for answer in _REPETITIONS}
    print(f"  the whole local stack, host and Azurite: {_more(over)}")
    ratios = {
        name: {other: _to(added[name], added[other]) for other in (PASS_THROUGH, PASS_THROUGH_NEW)} for name in READINGS
    }
    for name, found in ratios.items():
        shown = ", ".join(map(ratio, found[PASS_THROUGH_NEW].values()))
        print(f"  {name}, to a pass-through that asks on new connections, as Darkroom does: {shown}")
    times_litellm = {
        name: statistics.median(
            mine / theirs for mine, theirs in zip(taken.rates[name], taken.rates[LITELLM], strict=True)
        )
        for name in READINGS
    }
    targets = [
        target
        for name in READINGS
        for target in _targets(READINGS[name], ratios[name][PASS_THROUGH], times_litellm[name])
    ]
    figures = {
        "direct_seconds": direct,
        "added_seconds": added,
        "paused_added_seconds": paused,
        "whole_stack_added_seconds": over,
        "to_pass_through": {name: found[PASS_THROUGH] for name, found in ratios.items()},
        "to_new_connections": {name: found[PASS_THROUGH_NEW] for name, found in ratios.items()},
        "requests_per_second": per_second,
        "times_litellm": times_litellm,
        "idle_bytes": {name: idle[name] for name in added},
        "peak_bytes": {name: peaks[name] for name in added},
        "without_tls": without_tls,
        "before_anything_is_kept": least,
    }
    return Result(targets, figures)


def _least(added: Mapping[str, Mapping[str, float]], provenance: float) -> dict[str, float]:
    """What Darkroom adds to the small answer by what it promises alone: a function, each call to the model on a new
    connection, each image's provenance read."""
    connection = added[PASS_THROUGH_NEW]["small"] - added[PASS_THROUGH]["small"]
    return {"function": added[BARE]["small"], "connection": connection, "provenance": provenance}


def _without_tls(plain: Taken) -> dict[str, dict[str, Any]]:
    """By contender: what it adds, how many times what the pass-through does, and its requests a second."""
    added = _added(plain.seconds)
    found = {}
    for name, more in added.items():
        per_second = statistics.median(plain.rates[name])
        print(f"  without TLS, {name}: {_more(more)}; {per_second:.0f} requests a second")
        times = _to(more, added[PASS_THROUGH])
        found[name] = {"added_seconds": more, "to_pass_through": times, "requests_per_second": per_second}
    return found


def _targets(reading: str, to_pass_through: Mapping[str, float], times_litellm: float) -> list[Target]:
    return [
        *(
            Target(f"added, to what the pass-through adds, {_NAMES[answer]}; {reading}", to_pass_through[answer], most)
            for answer, most in TO_PASS_THROUGH.items()
        ),
        Target(
            f"requests a second of LiteLLM, to Darkroom's; {reading}",
            1 / times_litellm,
            1 / TIMES_LITELLM,
            beside=f"{times_litellm:.1f} times as many",
        ),
    ]


def _added(seconds: Seconds) -> dict[str, dict[str, float]]:
    """By contender and answer: what it takes longer than the model itself, the median of the rounds."""
    added: dict[str, dict[str, float]] = {}
    for (name, answer), taken in seconds.items():
        if name != DIRECT:
            pairs = zip(taken, seconds[DIRECT, answer], strict=True)
            added.setdefault(name, {})[answer] = statistics.median(mine - direct for mine, direct in pairs)
    return added


def _to(mine: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """The ratios; infinite where so little was added by the other that the noise hid it."""
    return {answer: mine[answer] / theirs[answer] if theirs[answer] > 0 else math.inf for answer in _REPETITIONS}


def _more(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"+{milliseconds(one)}" for one in seconds.values())
