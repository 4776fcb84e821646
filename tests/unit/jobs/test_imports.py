"""The room is light to enter: a cold start pays for an SDK when it is used, not when a module is imported."""

from __future__ import annotations

import subprocess
import sys

MODULES = "job rows store lease outbox queue rate pacing ledger idempotency"


def test_importing_the_room_imports_no_sdk():
    imports = ", ".join(f"shared.jobs.{name}" for name in MODULES.split())
    program = f"import sys, {imports}; print([name for name in sys.modules if name.startswith('azure')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
