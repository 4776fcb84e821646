"""Decode and store: an answer of 1, 4 or 10 images of 3 MB becomes blobs; the contenders take turns."""

from __future__ import annotations

import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import payload
from bench.report import Result, Target, megabytes, milliseconds, ratio, report
from local.certificates import Certificates, ensure_certificates, trust_environment

CPU_TO_NAIVE = 0.35
CPU_TO_FLOOR = 1.6
EXTRA_MEMORY = 16e6
LOOP_STALL = 0.010

_REPETITIONS = {1: 10, 4: 4, 10: 2}
_CONTENDERS = ("naive", "floor", "floor, kept", "darkroom", "darkroom+c2pa")

Figures = dict[tuple[str, int], list[dict[str, float]]]


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found."""
    counts = (1, 10) if quick else (1, 4, 10)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        image = payload.signed_png(directory)
        certificates = ensure_certificates(directory / "certificates")
        bodies = {f"n{count}": payload.answer(image, count) for count in counts}
        bodies["tiny"] = payload.answer(payload.signed_png(directory, 24, 24), 1)
        with _servers(directory, certificates, bodies) as (model, blobs):
            figures = _rounds(2 if quick else 5, counts, model, blobs, hashlib.sha256(image).hexdigest(), certificates)
        seconds = provenance_seconds(image)
    print(f"\nDecode and store: {len(image) / 1e6:.2f} MB images, TLS, every contender hashing; processor per image")
    return _print(figures, counts, seconds)


def _rounds(
    rounds: int, counts: tuple[int, ...], model: str, blobs: str, sha256: str, certificates: Certificates
) -> Figures:
    environment = {**os.environ, **trust_environment(certificates)}
    figures: Figures = {}
    for _ in range(rounds):
        for count in counts:
            for name in _CONTENDERS:
                command = [sys.executable, "-m", "bench.contender", name, model, blobs, f"n{count}", str(count), sha256]
                command.append(str(_REPETITIONS[count]))
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                figures.setdefault((name, count), []).append(json.loads(done.stdout))
    return figures


def _print(figures: Figures, counts: tuple[int, ...], provenance_seconds: float) -> Result:
    for count in counts:
        shown = "   ".join(
            f"{name} {milliseconds(statistics.median(_all(figures, name, count, 'processor')))}" for name in _CONTENDERS
        )
        print(f"  n={count:<2}  {shown}")
    kept = ", ".join(f"n={count} {ratio(_ratio(figures, 'floor, kept', count))}" for count in counts)
    print(f"  darkroom to a floor that keeps its connection to the model (no target): {kept}")
    print(f"  reading provenance alone: {milliseconds(provenance_seconds)} an image, in a worker thread")
    most = max(counts)
    naive_memory = statistics.median(_all(figures, "naive", most, "memory"))
    targets = [
        Target(f"processor, to the naive way, n={count}", _ratio(figures, "naive", count), CPU_TO_NAIVE)
        for count in counts
    ]
    targets += [
        Target(f"processor, to the floor, n={count}", _ratio(figures, "floor", count), CPU_TO_FLOOR) for count in counts
    ]
    targets.append(
        Target(
            f"extra memory with provenance, n={most}",
            statistics.median(_all(figures, "darkroom+c2pa", most, "memory")),
            EXTRA_MEMORY,
            megabytes,
            f"naive without provenance: {megabytes(naive_memory)}",
        )
    )
    stalls = [stall for count in counts for stall in _all(figures, "darkroom+c2pa", count, "stall")]
    beside = f"the worst of {len(stalls)} runs; their median: {milliseconds(statistics.median(stalls))}"
    targets.append(Target("longest stall of the event loop", max(stalls), LOOP_STALL, milliseconds, beside))
    told = {
        "processor_seconds": {
            name: {f"n{count}": statistics.median(_all(figures, name, count, "processor")) for count in counts}
            for name in _CONTENDERS
        },
        "darkroom_to": {
            other: {f"n{count}": _ratio(figures, other, count) for count in counts}
            for other in ("naive", "floor", "floor, kept")
        },
        "extra_bytes": {
            "darkroom+c2pa": statistics.median(_all(figures, "darkroom+c2pa", most, "memory")),
            "naive": naive_memory,
        },
        "longest_stall_seconds": max(stalls),
        "stall_runs": len(stalls),
        "provenance_seconds": provenance_seconds,
    }
    return report(Result(targets, told))


def _ratio(figures: Figures, other: str, count: int) -> float:
    """The median over the rounds of Darkroom's processor time to the other's of the same round."""
    pairs = zip(_all(figures, "darkroom", count, "processor"), _all(figures, other, count, "processor"), strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def _all(figures: Figures, name: str, count: int, figure: str) -> list[float]:
    return [found[figure] for found in figures[name, count]]


def provenance_seconds(image: bytes) -> float:
    """Of a worker thread, to read the provenance of a PNG once."""
    from shared.delivery.provenance import inspect

    times = []
    for _ in range(6):
        begun = time.perf_counter()
        inspect(io.BytesIO(image), "image/png")
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


@contextmanager
def _servers(directory: Path, certificates: Certificates, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    files = []
    for name, body in bodies.items():
        path = directory / f"{name}.json"
        path.write_bytes(body)
        files.append(str(path))
    with ExitStack() as stack:
        yield (
            stack.enter_context(_server("model", certificates, files)),
            stack.enter_context(_server("blobs", certificates, [])),
        )


@contextmanager
def _server(kind: str, certificates: Certificates, files: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.servers", kind, str(certificates.cert), str(certificates.key), *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"https://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
