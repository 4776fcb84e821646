"""The tables and plots of `docs/benchmarks.md`, made of `docs/benchmarks/figures.json` and of nothing else.

The text of the page is written by hand; between `<!-- passing -->` and `<!-- end of passing -->` stands what is made
here. A test holds the page to the figures.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench import environments, figures
from bench.contenders import BARE, NAIVE, PASS_THROUGH
from bench.figures import Figures
from bench.report import megabytes, milliseconds, ratio

PAGE: Final = figures.FILE.parents[1] / "benchmarks.md"
PLOTS: Final = ("passing", "memory")
_PLOTTER: Final = Path(__file__).with_name("plots.py")
_MATPLOTLIB: Final = "matplotlib==3.11.2"

type Part = Mapping[str, Any]


def make() -> None:
    """Write the tables of the page and the plots anew."""
    known = figures.read()
    PAGE.write_text(with_figures(PAGE.read_text(), known))
    drawn = [part for part in PLOTS if part in known]
    python = environments.python(".venv-plots", _MATPLOTLIB)
    for part in drawn:
        command = [str(python), str(_PLOTTER), part, str(figures.FILE), str(plot(part)), digest(known, part)]
        subprocess.run(command, check=True)


def plot(part: str) -> Path:
    return figures.FILE.with_name(f"{part}.svg")


def digest(known: Figures, part: str) -> str:
    """What a plot carries to say which figures it shows."""
    return hashlib.sha256(json.dumps(known[part], sort_keys=True).encode()).hexdigest()[:16]


def with_figures(text: str, known: Figures) -> str:
    """`text` with the tables of every part that there are figures of."""
    for part, table in _TABLES.items():
        if part not in known:
            continue
        begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
        before, found, rest = text.partition(begin)
        _, also_found, after = rest.partition(end)
        if not found or not also_found:
            raise ValueError(f"{PAGE.name} has no place for the figures of {part}")
        text = f"{before}{begin}{_where(known[part])}\n\n{table(known[part])}\n{end}{after}"
    return text


def _where(part: Part) -> str:
    at = part["measured"]
    quick = "**A quick run: no figures to quote.** " if at["quick"] else ""
    return (
        f"{quick}{at['on']}, {at['processors']} processors ({at['processor']}), Python {at['python']}, "
        f"load {at['load']} over the quarter of an hour before the end:"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _targets(part: Part) -> str:
    rows = (
        (one["name"], one["measured"], f"at most {one['most']}", "met" if one["met"] else "**missed**", one["beside"])
        for one in part["targets"]
    )
    return _table(("target", "measured", "asked for", "", ""), rows)


def _decode(part: Part) -> str:
    found = part["figures"]
    counts = list(found["darkroom_to"]["naive"])
    rows = [
        (f"Darkroom to {name}", *(ratio(found["darkroom_to"][other][count]) for count in counts))
        for other, name in (
            ("naive", "naive"),
            ("floor", "floor"),
            ("floor, kept", "a floor that keeps its connection to the model"),
        )
    ]
    return (
        _table(("processor time an image", *(count.replace("n", "n = ") for count in counts)), rows)
        + f"\n\n{_targets(part)}\n\nNaive, which reads no provenance, takes {megabytes(found['extra_bytes']['naive'])} "
        f"beyond what it has when warm. Reading an image's provenance takes "
        f"{milliseconds(found['provenance_seconds'])} of a worker thread."
    )


def _imports(part: Part) -> str:
    shown: dict[str, Callable[[float], str]] = {"seconds": milliseconds, "bytes": megabytes}
    rows = (
        (name, show(part["figures"][name]["app"]), show(part["figures"][name]["sdks"])) for name, show in shown.items()
    )
    return f"{_table(('', 'the app', 'the SDKs, eagerly'), rows)}\n\n{_targets(part)}"


def _passing(part: Part) -> str:
    found = part["figures"]
    paused = found["paused_added_seconds"]
    rows = [
        ("*the model itself*", *_times(found["direct_seconds"], ""), "", "", _rate(found, "direct"), "", ""),
        *(
            (
                name,
                *_times(added, "+"),
                *_times(paused.get(name), "+"),
                _rate(found, name),
                megabytes(found["idle_bytes"][name]),
                megabytes(found["peak_bytes"][name]),
            )
            for name, added in found["added_seconds"].items()
        ),
        ("the whole local stack", *_times(found["whole_stack_added_seconds"], "+"), "", "", "", "", ""),
    ]
    head = (
        *("", "0.14 MB", "4 images of 3 MB", "0.14 MB, pausing", "4 of 3 MB, pausing"),
        *("requests/s, 16 clients", "memory, idle", "at most"),
    )
    beside = "".join(
        f"\n\n{name}, to a pass-through that opens a connection for each call, as Darkroom does: "
        f"{ratio(new['small'])} and {ratio(new['n4'])}."
        for name, new in found["to_new_connections"].items()
    )
    bare, naive = (_to(found["added_seconds"], name) for name in (BARE, NAIVE))
    least = found["before_anything_is_kept"]
    together = ratio(sum(least.values()) / found["added_seconds"][PASS_THROUGH]["small"])
    return (
        f"{_table(head, rows)}\n\n{_targets(part)}\n\nThe bare function adds {bare[0]} and {bare[1]} times what the "
        f"pass-through does, the naive one, which keeps nothing either, {naive[0]} and {naive[1]} times.{beside}\n\n"
        f"What Darkroom adds to 0.14 MB before it keeps anything: {milliseconds(least['function'])} as a function, "
        f"{milliseconds(least['connection'])} by the new connection to the model and "
        f"{milliseconds(least['provenance'])} of reading the image's provenance, together {together} times what the "
        f"pass-through adds.\n\n"
        f"The model asked without TLS:\n\n{_without_tls(found['without_tls'])}"
    )


def _without_tls(found: Part) -> str:
    head = ("", "0.14 MB", "4 images of 3 MB", "to the pass-through", "", "requests/s, 16 clients")
    rows = (
        (
            name,
            *_times(one["added_seconds"], "+"),
            *(ratio(times) for times in one["to_pass_through"].values()),
            f"{one['requests_per_second']:,.0f}",
        )
        for name, one in found.items()
    )
    return _table(head, rows)


def _to(added: Mapping[str, Mapping[str, float]], name: str) -> tuple[str, str]:
    """What `name` adds to what the pass-through adds."""
    small, large = (ratio(added[name][answer] / added[PASS_THROUGH][answer]) for answer in ("small", "n4"))
    return small, large


def _times(seconds: Mapping[str, float] | None, sign: str) -> tuple[str, str]:
    if seconds is None:
        return "", ""
    return f"{sign}{milliseconds(seconds['small'])}", f"{sign}{milliseconds(seconds['n4'])}"


def _rate(found: Part, name: str) -> str:
    return f"{found['requests_per_second'][name]:,.0f}"


def _partials(part: Part) -> str:
    head = ("", "from the model to the client, median", "95 % within", "added, median", "95 % within")
    tables = [
        f"Each event {way}:\n\n" + _table(head, (_on_its_way(name, one) for name, one in found.items()))
        for way, found in part["figures"]["by_way"].items()
    ]
    return "\n\n".join([*tables, _targets(part)])


def _on_its_way(name: str, found: Part) -> tuple[str, ...]:
    seconds, added = found["seconds"], found.get("added")
    more = (f"+{milliseconds(added['median'])}", f"+{milliseconds(added['p95'])}") if added else ("", "")
    return name, milliseconds(seconds["median"]), milliseconds(seconds["p95"]), *more


def _memory(part: Part) -> str:
    found, kept = part["figures"], part["figures"]["bytes_kept_of_each"]
    rows = ((name, megabytes(one["idle"]), megabytes(one["above"])) for name, one in found["at_once"].items())
    return (
        f"{_table(('16 requests of n = 10', 'idle', 'above idle'), rows)}\n\n{_targets(part)}\n\n"
        f"Of each of the least requests Darkroom keeps {kept['requests']:.0f} bytes, a function of nothing "
        f"{found['bytes_kept_by_the_runtime_of_each']:,.0f}; of each image {kept['images']:,.0f}."
    )


def _pacing(part: Part) -> str:
    found = part["figures"]
    who = {**{f"Darkroom, {who}": one for who, one in found["drained"].items()}, "the usual way": found["usual_way"]}
    rows = [(name, ratio(one["to_ideal"]), str(one["refused"]), str(one["served"])) for name, one in who.items()]
    return f"{_table(('', 'time to the ideal', 'calls refused', 'jobs served'), rows)}\n\n{_targets(part)}"


_TABLES: Final[Mapping[str, Callable[[Part], str]]] = {
    "decode": _decode,
    "imports": _imports,
    "passing": _passing,
    "partials": _partials,
    "memory": _memory,
    "pacing": _pacing,
}

PARTS: Final = tuple(_TABLES)
