"""`python -m tests.chaos`: the long form, on a stack of its own. Exit code 1 when something is not as it should be.

SEED makes what is asked for, and the order of the faults, the same again; when exactly each strikes it cannot fix.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from local.certificates import Certificates, ensure_certificates, trust_environment
from local.stack import PROJECT, Stack, StackOptions

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "OPENBLAS_CORETYPE")


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="darkroom-chaos-") as folder:
        directory = Path(folder) if options.keep is None else options.keep
        certificates = ensure_certificates(directory / "certificates")
        os.environ.update(trust_environment(certificates))
        return _run(options, directory, certificates)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", default=os.environ.get("SEED") or secrets.token_hex(4))
    parser.add_argument("--jobs", type=int, default=200, help="how many pictures are asked for")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--asking", type=float, default=100, help="seconds over which they are asked for")
    parser.add_argument("--breaking", type=float, default=110, help="seconds for which things go wrong")
    parser.add_argument("--kill-every", type=float, default=1.0, help="mean of seconds between kills")
    parser.add_argument("--hurry", action="store_true", help="put the clocks of the dead forward instead of waiting")
    parser.add_argument("--never-again", action="store_true", help="RETRY_UNKNOWN_OUTCOME=never: nothing paid twice")
    parser.add_argument("--doors", default="", help="only these, as jobs,images,queue,uploads,batches")
    parser.add_argument("--keep", type=Path, help="a folder to leave logs and data in")
    return parser.parse_args()


def _run(options: argparse.Namespace, directory: Path, certificates: Certificates) -> int:
    # Imported when the certificates are in the environment: aiohttp reads it once.
    from tests.chaos import orders, report
    from tests.chaos import run as chaos
    from tests.chaos.ground import Ground

    began = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {text}\n")
        sys.stdout.flush()

    with Ground(certificates, calls_again=not options.never_again) as ground:
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ} | ground.environ
        stack = StackOptions(
            directory=directory,
            app=PROJECT,
            workers=options.workers,
            environ=environ,
            configure=ground.configure,
            certificates=directory / "certificates",
        )
        say(f"SEED={options.seed}; starting the stack with {options.workers} workers")
        with Stack(stack) as info:
            say(f"{options.jobs} orders")
            what = chaos.Chaos(
                seed=options.seed,
                count=options.jobs,
                asking=options.asking,
                breaking=options.breaking,
                kill_every=options.kill_every,
                hurry=options.hurry,
                doors=tuple(filter(None, options.doors.split(","))) or orders.DOORS,
            )
            outcome = asyncio.run(chaos.run(what, info, ground, say))
    sys.stdout.write("\n" + "\n".join(report.lines(outcome.account, outcome.done, ground.gate)) + "\n")
    sys.stdout.write(f"\nSEED={options.seed}, {time.monotonic() - began:.0f} s\n")
    return 1 if outcome.account.violations else 0


if __name__ == "__main__":
    sys.exit(main())
