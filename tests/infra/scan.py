"""Runs checkov, a security scanner for infrastructure as code, over `infra/` and accounts for each finding.

`make lint-infra` comes in here. A finding is repaired or has an entry with its reason in `checkov/exceptions.json`; an
entry that nothing is found for has to go. The scanner asks for packages that do not go together with the app's, so it
has an environment of its own, `.venv-checkov`, made at the first run (189 MB, a quarter of a minute).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / ".venv-checkov"
PROGRAM = ENVIRONMENT / "bin" / "checkov"

type Findings = dict[str, set[str]]
"""The resources (`file: symbol`) that each check objects to."""


def install() -> None:
    """Make the scanner's environment where it is not there."""
    if PROGRAM.exists():
        return
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(ENVIRONMENT)], check=True)
    python = str(ENVIRONMENT / "bin" / "python")
    requirements = str(HERE / "checkov" / "requirements.txt")
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True)


def scan() -> Findings:
    """What the scanner finds in `infra/`. It stays on this machine: neither rules nor results go anywhere."""
    done = subprocess.run(
        [str(PROGRAM), "-d", "infra", "--framework", "bicep", "--compact", "--skip-download", "-o", "json"],
        cwd=ROOT,
        env={**os.environ, "LOG_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr[-2000:])
    return read(json.loads(done.stdout))


def read(report: Mapping[str, Any]) -> Findings:
    """The findings of a report; raises RuntimeError when the scanner saw no resource or could not read a file."""
    summary = report["summary"]
    if summary["parsing_errors"] or not summary["resource_count"]:
        raise RuntimeError(f"the scanner did not read everything: {summary}")
    found: Findings = {}
    for one in report["results"]["failed_checks"]:
        where = f"{one['file_path'].lstrip('/')}: {one['resource'].rsplit('.', 1)[1]}"
        found.setdefault(one["check_id"], set()).add(where)
    return found


def excepted() -> Findings:
    """The findings that have a reason to stay."""
    entries = json.loads((HERE / "checkov" / "exceptions.json").read_text())
    return {check: set(entry["resources"]) for check, entry in entries.items()}


def unaccounted(found: Findings, allowed: Findings) -> list[str]:
    """A sentence for each finding without a reason and each reason without a finding."""
    said = []
    for check in sorted(found.keys() | allowed.keys()):
        here, fine = found.get(check, set()), allowed.get(check, set())
        said += [f"{check} objects to {one}" for one in sorted(here - fine)]
        said += [f"{check} has an exception for {one}, and no objection" for one in sorted(fine - here)]
    return said


def main() -> int:
    install()
    said = unaccounted(scan(), excepted())
    for line in said:
        print(line)  # noqa: T201 - a command's output
    if not said:
        print(f"checkov: nothing but the {sum(map(len, excepted().values()))} findings that have a reason")  # noqa: T201
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
