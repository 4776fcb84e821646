"""`python -m bench [part ...] [--quick]`: ratios measured in one run; exit code 1 if a target is missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import decode, imports, pacing

PARTS: dict[str, Callable[..., bool]] = {"decode": decode.run, "imports": imports.run, "pacing": pacing.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What Darkroom costs, as ratios of one run.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression, not a figure to quote")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    met = [PARTS[part](quick=options.quick) for part in options.parts or PARTS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
