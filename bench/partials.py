"""Partial images: how long one that has arrived from the model takes to leave for a client.

Two clients at once, each with a stream of three partial images of 1.5 MB and a completed one, a sixth of a second
apart. The last bytes of an event say when the model server sent them; measured is until a client has the whole event.
What a gateway adds to that is how much more it is than the median of the clients that ask the model itself, in the same
round. The events come in two ways: at once, all 2 MB of them at the speed of memory, so that decrypting and decoding
them is in the figure; and at the speed of a network, so that it is what happens from the last byte on.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import answers, clients, contenders
from bench.contenders import DARKROOM, DARKROOM_IN_PROCESS, DIRECT, FASTAPI, PASS_THROUGH, READINGS, Contender
from bench.events import PAUSE_SECONDS
from bench.report import Result, Target, milliseconds, progress, report
from local.certificates import ensure_certificates

ON_THE_WAY: Final = 0.010
CLIENTS: Final = 2
WAYS: Final = {"partials": "at once", "paced": "at 1 Gbit/s"}
"""By name of the answer: how an event comes from the model."""
_STREAMS: Final = 4
_STREAMERS: Final = (DIRECT, PASS_THROUGH, FASTAPI, DARKROOM, DARKROOM_IN_PROCESS)
_SENT = re.compile(rb'"sent": (\d+\.\d+)}$')
_PARTIAL: Final = b"partial_image"

type Found = dict[str, dict[str, list[list[float]]]]
"""By way and contender, for each round: seconds of each partial image."""


class Stream:
    """What a client hears of one stream: `seconds` that each partial image was on its way."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.completed = 0
        self._event = bytearray()

    def take(self, piece: memoryview) -> None:
        looked_at = max(len(self._event) - 1, 0)
        self._event += piece
        while (end := self._event.find(b"\n\n", looked_at)) >= 0:
            self._ended(bytes(self._event[:80]), bytes(self._event[max(end - 80, 0) : end]), time.monotonic())
            del self._event[: end + 2]
            looked_at = 0

    def _ended(self, begin: bytes, tail: bytes, now: float) -> None:
        if begin.startswith(b":"):
            return
        sent = _SENT.search(tail)
        assert sent, tail
        if _PARTIAL in begin.split(b"\n")[0]:
            self.seconds.append(now - float(sent[1]))
        else:
            self.completed += 1


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found."""
    print(f"\nPartial images: from the model to one of {CLIENTS} clients")
    rounds = 2 if quick else 5
    found: Found = {way: {name: [] for name in _STREAMERS} for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        certificates = ensure_certificates(directory / "certificates")
        given = answers.write(directory)
        with contenders.field(directory, certificates, given.files) as field:
            there = field.start(_STREAMERS)
            for contender in there:
                _streams(contender, "partials", 1)
            for number in range(rounds):
                progress(f"round {number + 1} of {rounds}")
                for way in WAYS:
                    for contender in there:
                        found[way][contender.name].append(_streams(contender, way, _STREAMS))
    return report(_result(found))


def _streams(contender: Contender, answer: str, each: int) -> list[float]:
    """Seconds on the way of each partial image of `each` streams to each client."""
    heard: list[Stream] = []

    def client(number: int) -> None:
        time.sleep(PAUSE_SECONDS * number / CLIENTS)  # one at a time at the model, as far as they keep the pace
        with contender.connect() as connection:
            for _ in range(each):
                stream = Stream()
                head = contender.ask(connection, answer, stream.take)
                clients.accepted(head)
                heard.append(stream)

    clients.at_once(CLIENTS, client)
    assert [(len(stream.seconds), stream.completed) for stream in heard] == [(answers.PARTIALS, 1)] * each * CLIENTS
    return [seconds for stream in heard for seconds in stream.seconds]


def _result(found: Found) -> Result:
    by_way: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for answer, way in WAYS.items():
        taken = found[answer]
        by_way[way] = {DIRECT: {"seconds": _shares(taken[DIRECT])}}
        for name in _STREAMERS[1:]:
            by_way[way][name] = {"seconds": _shares(taken[name]), "added": _shares(_added(taken[name], taken[DIRECT]))}
        for name, shares in by_way[way].items():
            more = f"; added: {_shown(shares['added'])}" if "added" in shares else ""
            print(f"  {way}, {name}: {_shown(shares['seconds'])}{more}")
    count = sum(map(len, found["partials"][DARKROOM]))
    targets = [
        Target(
            f"a partial image leaves after its arrival, 95th percentile, events {way}; {reading}",
            one[name]["added"]["p95"],
            ON_THE_WAY,
            milliseconds,
            f"of {count}; a pass-through {milliseconds(one[PASS_THROUGH]['added']['p95'])}",
        )
        for way, one in by_way.items()
        for name, reading in READINGS.items()
    ]
    return Result(targets, {"by_way": by_way, "partials": count})


def _added(rounds: Sequence[Sequence[float]], direct: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of each partial image: the seconds beyond the median of the direct way in its round."""
    pairs = zip(rounds, map(statistics.median, direct), strict=True)
    return [[one - usual for one in several] for several, usual in pairs]


def _shares(rounds: Iterable[Sequence[float]]) -> dict[str, float]:
    values = [one for several in rounds for one in several]
    return {"median": _share(values, 0.5), "p95": _share(values, 0.95)}


def _shown(shares: Mapping[str, float]) -> str:
    return f"median {milliseconds(shares['median'])}, 95 % within {milliseconds(shares['p95'])}"


def _share(values: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed."""
    return sorted(values)[max(0, -int(-len(values) * share // 1) - 1)]
