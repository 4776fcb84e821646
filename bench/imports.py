"""Imports: what the app adds to a bare worker, beside what its SDKs would add if they were imported eagerly."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time

from bench import process
from bench.report import Result, Target, megabytes, milliseconds, report

SHARE = 1 / 3
_SDKS = (
    "openai",
    "azure.storage.blob",
    "azure.storage.queue",
    "azure.data.tables",
    "azure.identity",
    "azure.eventgrid",
)
_APP = ("function_app",)


def run(*, quick: bool) -> Result:
    """Measures, prints and says what was found."""
    app, sdks = [], []
    for _ in range(3 if quick else 9):
        app.append(_child(_APP))
        sdks.append(_child(_SDKS))
    print("\nImports, added to a bare worker (runtime library, FastAPI extension, one route)")
    targets = []
    figures = {}
    for figure, show in (("seconds", milliseconds), ("bytes", megabytes)):
        mine, theirs = (statistics.median(found[figure] for found in side) for side in (app, sdks))
        figures[figure] = {"app": mine, "sdks": theirs, "ratio": mine / theirs}
        beside = f"app {show(mine)}, SDKs eagerly {show(theirs)}"
        targets.append(Target(f"{figure} of the app to those of the SDKs", mine / theirs, SHARE, beside=beside))
    return report(Result(targets, figures))


def _child(modules: tuple[str, ...]) -> dict[str, float]:
    # Without bytecode on disk everybody would be compiled anew each time, which no deployed app is.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "bench.imports", *modules]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(modules: list[str]) -> None:
    _bare_worker()
    import azure.functions

    resident, begun = process.resident(), time.perf_counter()
    for module in modules:
        loaded = importlib.import_module(module)
        if isinstance(app := getattr(loaded, "app", None), azure.functions.FunctionApp):
            app.get_functions()  # the worker indexes the app before it takes a first request
    print(json.dumps({"seconds": time.perf_counter() - begun, "bytes": process.resident() - resident}))


def _bare_worker() -> None:
    """What the platform's worker has imported before it comes to an app's own code, and the least of apps."""
    import azure.functions
    import azure_functions_runtime
    import azurefunctions.extensions.http.fastapi as http

    app = azure.functions.FunctionApp()

    @app.route("hello", methods=["GET"])
    async def hello(req: http.Request) -> http.Response:
        return http.Response(str(req.url))

    assert azure_functions_runtime
    assert app.get_functions()


if __name__ == "__main__":
    _measure(sys.argv[1:])
