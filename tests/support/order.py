"""In which order the tests run, and by how many processes at once.

conftest.py comes in here. Each process (a worker of pytest-xdist) has a session of its own: its own certificates,
Azurite, model server and stack, all on free ports. A file's tests stay together on one worker (`--dist loadfile`), and
workers take files in the order given here.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from pathlib import Path

import pytest

MOST_WORKERS = 4
"""More would not end sooner: the longest test alone takes a quarter of what four need. Each has a stack to feed."""

_FOLDERS = ("unit", "app", "infra", "faults", "clients", "stack")


def workers(config: pytest.Config) -> int:
    """One for each core, at least two since half of the time is spent in waiting; 0 (this very process) where only a
    part of the tests is asked for, which is over before workers have come up.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.getoption("keyword")
    return min(max(os.process_cpu_count() or 1, 2), MOST_WORKERS) if whole else 0


def fast_first(items: list[pytest.Item], root: Path) -> None:
    """Sort files: those that need no stack, then the long ones (begun early, so that no worker is left with one at the
    end), then all others. Within a file nothing moves.
    """
    on_stack = _files(item for item in items if item.get_closest_marker("stack"))
    long = _files(item for item in items if item.get_closest_marker("long"))
    items.sort(key=lambda item: _rank(item.path, on_stack, long, root))


def _files(items: Iterable[pytest.Item]) -> set[Path]:
    return {item.path for item in items}


def _rank(path: Path, on_stack: Container[Path], long: Container[Path], root: Path) -> tuple[bool, bool, int]:
    folder = path.relative_to(root).parts[0]
    return path in on_stack, path not in long, _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS)
