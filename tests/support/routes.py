"""The HTTP routes of the app itself, so that a test of all of them misses none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import function_app


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    method: str
    path: str
    function: Any


@cache
def routes() -> tuple[Route, ...]:
    """Every HTTP route of the app, once for each of its methods. Kept: an app is indexed once."""
    found = []
    for function in function_app.app.get_functions():
        trigger = json.loads(function.get_function_json())["bindings"][0]
        if trigger["type"] == "httpTrigger":
            found += [
                Route(str(function.get_function_name()), m, trigger["route"], function) for m in trigger["methods"]
            ]
    return tuple(found)
