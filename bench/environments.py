"""Packages that only a bench needs and that do not go together with the app's: each in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def python(name: str, requirement: str) -> Path:
    """The Python of the environment `name` (a folder of the project) with `requirement` (`package==version`)
    installed, made at its first use and made anew when the requirement is another one by then."""
    folder = ROOT / name
    found, note = folder / "bin" / "python", folder / "requirement.txt"
    if found.exists() and note.exists() and note.read_text() == requirement:
        return found
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(found), requirement], check=True)
    note.write_text(requirement)
    return found
