"""The examples of a page of docs/, and a folder like the project's to run them in."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.state import StackInfo

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block of code of a page, which is named from the project's root."""
    return _BLOCK.findall((ROOT / page).read_text())


def examples(page: str, language: str) -> list[str]:
    """The blocks of code in one language."""
    return [text for one, text in blocks(page) if one == language]


def like_the_project(folder: Path, info: StackInfo) -> Path:
    """`folder`, with what examples look for in the project's own while a stack runs."""
    (folder / ".local").mkdir()
    (folder / ".local" / "stack.json").write_text((Path(info.directory) / "stack.json").read_text())
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What the command prints; it has to end well."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
