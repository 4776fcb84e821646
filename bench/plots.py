"""Draws the plots of `docs/benchmarks.md`; run by `bench/page.py` with a Python that has matplotlib.

`python bench/plots.py PART FIGURES SVG DIGEST`. The same figures give the same file: no dates, no random names, and
text stays text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib import pyplot as plt

_DARKROOM, _OTHERS, _LINE = "#b3402a", "#8a9199", "#3c4248"


def passing(found: dict[str, Any]) -> Any:
    """What each adds to a small and to a large answer, and its requests a second, as bars."""
    names = list(found["added_seconds"])
    added = found["added_seconds"]
    sides = [
        ("added to 0.14 MB, ms", {name: added[name]["small"] * 1000 for name in names}),
        ("added to 4 images of 3 MB, ms", {name: added[name]["n4"] * 1000 for name in names}),
        ("requests a second, 16 clients", {name: found["requests_per_second"][name] for name in names}),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
    for axis, (title, values) in zip(axes, sides, strict=True):
        _bars(axis, title, values)
    return figure


def memory(found: dict[str, Any]) -> Any:
    """What many large requests at once take, as bars, and what stays resident over many small ones, as lines."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.8))
    above = {name: one["above"] / 1e6 for name, one in found["at_once"].items()}
    _bars(left, "above idle, 16 requests of n = 10, MB", above)
    for (name, samples), colour in zip(found["resident"].items(), (_OTHERS, _DARKROOM), strict=True):
        requests, resident = zip(*samples, strict=True)
        total = max(requests)
        label = "least requests" if name == "requests" else "tiny images"
        share = [count / total * 100 for count in requests]
        right.plot(share, [size / 1e6 for size in resident], color=colour, label=f"{total:,} {label}")
    right.legend(fontsize=8, frameon=False, loc="lower right")
    right.set_ylim(bottom=0)
    right.set_title("resident, MB, by the share of requests that were answered, %", fontsize=9, loc="left", color=_LINE)
    _plain(right)
    return figure


def _bars(axis: Any, title: str, values: dict[str, float]) -> None:
    names = list(values)
    colours = [_DARKROOM if name.startswith("Darkroom") else _OTHERS for name in names]
    bars = axis.barh(names, list(values.values()), color=colours)
    axis.bar_label(bars, fmt=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}", padding=3, fontsize=8)
    axis.set_xlim(0, max(values.values()) * 1.2)
    axis.set_title(title, fontsize=9, loc="left", color=_LINE)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, colors=_LINE)


def main(part: str, figures: str, svg: str, digest: str) -> None:
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "darkroom", "svg.fonttype": "none", "font.family": "sans-serif"})
    draw = {"passing": passing, "memory": memory}[part]
    figure = draw(json.loads(Path(figures).read_text())[part]["figures"])
    figure.tight_layout()
    figure.savefig(svg, metadata={"Date": None, "Description": f"figures {digest}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
