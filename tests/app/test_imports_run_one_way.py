"""The arrows of design section 1, read off the source: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Every room, and the rooms of ours it may import beside itself. Settings and errors are everybody's.
_EVERYBODY = frozenset({"shared.errors", "shared.settings"})
_GROUND = _EVERYBODY | {"shared.images", "shared.platform"}
_ROOMS = {"shared.model", "shared.jobs", "shared.delivery"}
ARROWS: dict[str, frozenset[str]] = {
    "shared.errors": frozenset(),
    "shared.settings": frozenset({"shared.errors"}),
    "shared.images": frozenset({"shared.errors"}),
    "shared.platform": _EVERYBODY,
    "shared.model": _GROUND,
    "shared.jobs": _GROUND,
    "shared.delivery": _GROUND,
    "shared.pipeline": _GROUND | _ROOMS,
    "shared.api": _GROUND | _ROOMS | {"shared.pipeline"},
    "functions": _GROUND | _ROOMS | {"shared.pipeline", "shared.api"},
    "function_app": frozenset({"functions", "shared.platform"}),
    "local": frozenset(),
}


def room_of(module: str) -> str | None:
    """The room a module belongs to; None for what is not ours."""
    parts = module.split(".")
    if parts[0] == "shared":
        return ".".join(parts[:2])
    return parts[0] if parts[0] in ("functions", "function_app", "local") else None


def imports(path: Path) -> Iterator[str]:
    """The absolute names of the modules `path` imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> dict[str, Path]:
    """Module name -> file, for everything of ours."""
    files = [
        ROOT / "function_app.py",
        *(path for top in ("functions", "shared", "local") for path in sorted((ROOT / top).rglob("*.py"))),
    ]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
        if "node_modules" not in path.parts
    }


def test_each_room_imports_only_what_its_arrows_allow() -> None:
    wrong = []
    for name, path in modules().items():
        room = room_of(name)
        if room is None or room == "shared":
            continue
        found = {room_of(other) for other in imports(path)} - {None, "shared", room}
        wrong += [f"{name} -> {other}" for other in found - ARROWS[room]]

    assert wrong == []


def test_the_rooms_are_those_of_the_design() -> None:
    assert {room_of(name) for name in modules()} - {"shared"} == set(ARROWS)


def test_no_module_of_the_app_reads_the_environment_at_import() -> None:
    """A setting read at import can make every function vanish; HTTP_AUTH_LEVEL is the one exception, in a function."""
    reading = []
    for name, path in modules().items():
        outside = [
            node
            for node in ast.parse(path.read_text()).body
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        ]
        attributes = [
            node.attr for statement in outside for node in ast.walk(statement) if isinstance(node, ast.Attribute)
        ]
        if {"environ", "getenv"} & set(attributes) and not name.startswith("local"):
            reading.append(name)

    assert reading == []


def test_loading_the_app_imports_no_sdk() -> None:
    """A cold start pays for what the first request uses: SDKs are imported lazily."""
    heavy = [
        "azure.identity",
        "azure.storage.blob",
        "azure.storage.queue",
        "azure.data.tables",
        "azure.eventgrid",
        "c2pa",
        "opentelemetry.sdk",
    ]
    script = f"import sys, function_app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
