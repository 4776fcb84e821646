"""Memory: of many large requests at once, and of very many small ones one after the other.

- *At once*: 16 clients ask for 10 images of 3 MB each; the most that was resident, beyond what the warm worker had.
- *Flat*: 16 clients ask for the least there is, `/api/health`, over and over, and then for tiny images, of both as many
  as there is time for; what is resident from a fifth of the requests on. The runtime library keeps some 2 KB of each
  HTTP request in streams mode, which `functions/web.py` works round: shown beside is what a function of nothing,
  without that, adds with each request.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import answers, clients, contenders, process
from bench.answers import Answers
from bench.connection import Connection
from bench.contenders import DARKROOM, NAIVE, PASS_THROUGH, Contender
from bench.report import Result, Target, megabytes, progress, report
from local.certificates import ensure_certificates

AT_ONCE: Final = 90e6
GROWTH: Final = 5e6
"""Over four fifths of the requests: 60 bytes each of 80,000, where the runtime library keeps 2,000."""
CLIENTS: Final = 16
REQUESTS: Final = 100_000
IMAGES: Final = 20_000
LONGEST_SECONDS: Final = {"requests": 150.0, "images": 240.0}
_PINGS: Final = 10_000
_WARM: Final = 64
_SAMPLES: Final = 20
_QUICKER: Final = 20
_SETTLED: Final = 0.2


@dataclass(frozen=True, slots=True)
class Series:
    """How many requests there had been, and the bytes that were resident then."""

    name: str
    samples: Sequence[tuple[int, int]]

    @property
    def settled(self) -> tuple[int, int]:
        return next(sample for sample in self.samples if sample[0] >= _SETTLED * self.samples[-1][0])

    @property
    def growth(self) -> int:
        return self.samples[-1][1] - self.settled[1]

    @property
    def each(self) -> float:
        """Bytes that stayed of each request."""
        return self.growth / (self.samples[-1][0] - self.settled[0])


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found. A quick run asks a twentieth as often."""
    print(f"\nMemory: small requests, over and over; {CLIENTS} requests of 10 images at once")
    fraction = _QUICKER if quick else 1
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        certificates = ensure_certificates(directory / "certificates")
        given = answers.write(directory)
        with contenders.field(directory, certificates, given.files) as field:
            naive, darkroom = field.start([NAIVE, DARKROOM])
            progress("a function of nothing")
            leak = _flat("pings", naive, "ping", _PINGS, LONGEST_SECONDS["requests"]).each
            progress("the least requests")
            least = _flat("requests", darkroom, "get_health", REQUESTS // fraction, LONGEST_SECONDS["requests"])
            progress("tiny images")
            images = _flat("images", darkroom, "tiny", IMAGES // fraction, LONGEST_SECONDS["images"])
            fresh = field.start([PASS_THROUGH, DARKROOM] if quick else [PASS_THROUGH, NAIVE, DARKROOM])
            progress("large requests at once")
            at_once = {contender.name: _at_once(contender) for contender in fresh}
            _check(fresh[-1], given)
    return report(_result(at_once, (least, images), leak))


def _flat(name: str, contender: Contender, answer: str, requests: int, seconds: float) -> Series:
    """`requests` requests, or as many as there is time for."""
    samples: list[tuple[int, int]] = []
    end = time.monotonic() + seconds
    step = requests // _SAMPLES
    while len(samples) < _SAMPLES and (len(samples) < 2 or time.monotonic() < end):
        clients.share(CLIENTS, step, contender.connect, _asks(contender, answer))
        samples.append(((len(samples) + 1) * step, process.resident(contender.pid)))
    return Series(name, samples)


def _asks(contender: Contender, answer: str) -> Callable[[Connection], bytes]:
    return lambda connection: contender.ask(connection, answer, len)


def _at_once(contender: Contender) -> dict[str, int]:
    clients.share(CLIENTS, _WARM, contender.connect, _asks(contender, "tiny"))
    idle = process.resident(contender.pid)
    process.forget_peak(contender.pid)
    for _ in range(2):
        clients.share(CLIENTS, CLIENTS, contender.connect, _asks(contender, "n10"))
    return {"idle": idle, "above": process.peak(contender.pid) - idle}


def _check(contender: Contender, given: Answers) -> None:
    with contender.connect() as connection:
        pieces: list[bytes] = []
        contender.ask(connection, "n10", lambda piece: pieces.append(bytes(piece)))
        given.check("n10", b"".join(pieces))


def _result(at_once: dict[str, dict[str, int]], flat: Sequence[Series], leak: float) -> Result:
    for name, found in at_once.items():
        print(f"  {name}: {megabytes(found['idle'])} idle, {megabytes(found['above'])} more at the most")
    for series in flat:
        print(f"  Darkroom keeps {series.each:.0f} bytes of each of {series.samples[-1][0]:,} {series.name}")
    print(f"  a function of nothing keeps {leak:.0f} bytes of each request")
    targets = [
        Target(f"above idle, {CLIENTS} requests of n=10 at once", at_once[DARKROOM]["above"], AT_ONCE, megabytes)
    ]
    targets += [
        Target(
            f"growth over {series.name} {series.settled[0]:,} to {series.samples[-1][0]:,}",
            series.growth,
            GROWTH,
            megabytes,
            f"{megabytes(series.samples[-1][1])} resident at the end",
        )
        for series in flat
    ]
    figures = {
        "at_once": at_once,
        "resident": {series.name: [list(sample) for sample in series.samples] for series in flat},
        "bytes_kept_of_each": {series.name: series.each for series in flat},
        "bytes_kept_by_the_runtime_of_each": leak,
    }
    return Result(targets, figures)
