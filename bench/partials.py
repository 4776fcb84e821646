"""Partial images: how long one that has arrived from the model takes to leave for a client.

Four clients at once, each with a stream of three partial images of 1.5 MB and a completed one, a quarter of a second
apart. The last bytes of an event say when the model server sent them; measured is until a client has the whole event,
so the way over loopback, two of them through a gateway, is in the figure.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import answers, clients, contenders
from bench.contenders import DARKROOM, DIRECT, FASTAPI, PASS_THROUGH, Contender
from bench.events import PAUSE_SECONDS
from bench.report import Result, Target, milliseconds, report
from local.certificates import ensure_certificates

ON_THE_WAY: Final = 0.010
CLIENTS: Final = 4
_STREAMERS: Final = (DIRECT, PASS_THROUGH, FASTAPI, DARKROOM)
_SENT = re.compile(rb'"sent": (\d+\.\d+)}$')
_PARTIAL: Final = b"partial_image"


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
    found: dict[str, list[float]] = {name: [] for name in _STREAMERS}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        certificates = ensure_certificates(directory / "certificates")
        given = answers.write(directory)
        with contenders.field(directory, certificates, given.files) as field:
            there = field.start(_STREAMERS)
            for contender in there:
                _streams(contender, 1)
            for _ in range(rounds):
                for contender in there:
                    found[contender.name] += _streams(contender, 5)
    return report(_result(found))


def _streams(contender: Contender, each: int) -> list[float]:
    """Seconds on the way of each partial image of `each` streams to each client."""
    heard: list[Stream] = []

    def client(number: int) -> None:
        time.sleep(PAUSE_SECONDS * number / CLIENTS)  # one at a time at the model, as far as they keep the pace
        with contender.connect() as connection:
            for _ in range(each):
                stream = Stream()
                head = contender.ask(connection, "partials", stream.take)
                clients.accepted(head)
                heard.append(stream)

    clients.at_once(CLIENTS, client)
    assert [(len(stream.seconds), stream.completed) for stream in heard] == [(answers.PARTIALS, 1)] * each * CLIENTS
    return [seconds for stream in heard for seconds in stream.seconds]


def _result(found: dict[str, list[float]]) -> Result:
    shares = {name: {"median": _share(taken, 0.5), "p95": _share(taken, 0.95)} for name, taken in found.items()}
    for name, share in shares.items():
        print(f"  {name}: median {milliseconds(share['median'])}, 95 % within {milliseconds(share['p95'])}")
    count = len(found[DARKROOM])
    target = Target(
        "a partial image on its way, 95th percentile",
        shares[DARKROOM]["p95"],
        ON_THE_WAY,
        milliseconds,
        f"of {count}; without a gateway {milliseconds(shares[DIRECT]['p95'])}",
    )
    return Result([target], {"seconds": shares, "partials": count})


def _share(values: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed."""
    return sorted(values)[max(0, -int(-len(values) * share // 1) - 1)]
