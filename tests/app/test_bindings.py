"""The app as Microsoft's runtime library sees it: it indexes, and each function's bindings are those of the snapshot.

The snapshot is `bindings.json` beside this file. A change of a route, a queue or a connection shows as a change of that
file, for a reviewer to see: infrastructure, hooks and connectors name the same things.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("bindings.json")

_INDEX = """
import asyncio, json, sys
from pathlib import Path
from local.host.worker import _index
found = asyncio.run(_index(Path.cwd()))
if found["error"]: sys.exit(found["error"]["message"])
functions = {f["name"]: [json.loads(binding) for binding in f["bindings"]] for f in found["functions"]}
print(json.dumps({"http_uri": found["http_uri"], "functions": functions}))
"""


def index(**environ: str) -> dict[str, Any]:
    """Index the app in a process of its own, since the runtime library holds one app per process."""
    done = subprocess.run(
        [sys.executable, "-c", _INDEX],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def indexed() -> dict[str, Any]:
    return index()


def test_every_function_has_the_bindings_of_the_snapshot(indexed: dict[str, Any]) -> None:
    assert indexed["functions"] == json.loads(SNAPSHOT.read_text())


def test_the_whole_app_runs_in_http_streams_mode(indexed: dict[str, Any]) -> None:
    assert indexed["http_uri"].startswith("http://127.0.0.1:")


def levels(found: dict[str, Any]) -> dict[str, str]:
    return {name: bindings[0]["authLevel"] for name, bindings in found["functions"].items() if "route" in bindings[0]}


def test_keys_guard_every_route_but_health_openapi_and_poll(indexed: dict[str, Any]) -> None:
    open_routes = {name for name, level in levels(indexed).items() if level == "ANONYMOUS"}

    assert open_routes == {"get_health", "get_openapi", "poll_job"}


def test_easy_auth_takes_the_guard_where_the_level_is_anonymous() -> None:
    assert set(levels(index(HTTP_AUTH_LEVEL="anonymous")).values()) == {"ANONYMOUS"}


@pytest.mark.parametrize("level", ["admin", ""])
def test_any_other_level_means_function_keys(level: str) -> None:
    assert levels(index(HTTP_AUTH_LEVEL=level))["submit_job"] == "FUNCTION"


def test_the_app_indexes_without_a_single_setting() -> None:
    found = index(**{name: "" for name in os.environ if name.startswith(("AZURE_", "STORAGE__", "EVENTS__"))})

    assert "image_generations" in found["functions"]
