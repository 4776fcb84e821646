"""`python -m bench [part ...] [--quick]`: ratios measured in one run; exit code 1 if a target is missed.

What a whole run finds is written to `docs/benchmarks/`, from where the page and its plots are made. A quick one leaves
them alone. `python -m bench page` makes them anew from the figures that are there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import decode, figures, imports, memory, pacing, page, partials, passing
from bench.report import Result

PARTS: dict[str, Callable[..., Result]] = {
    "decode": decode.run,
    "imports": imports.run,
    "passing": passing.run,
    "partials": partials.run,
    "memory": memory.run,
    "pacing": pacing.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What Darkroom costs, as ratios of one run.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all by default; or page")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression, not a figure to quote")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in (*PARTS, "page")]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    met = True
    for part in [part for part in options.parts or PARTS if part in PARTS]:
        result = PARTS[part](quick=options.quick)
        met = met and result.met
        if not options.quick:
            figures.record(part, result)
    if not options.quick:
        page.make()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
