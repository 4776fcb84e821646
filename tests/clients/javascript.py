"""The official client for JavaScript: calls written in Python, made by `node/client.mjs`, and what came of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.state import StackInfo
from tests.clients.conftest import API_VERSION, DEPLOYMENT, TIMEOUT
from tests.support.node import FOLDER, run_node

KINDS = ("AzureOpenAI", "OpenAI")
_SCRIPT = FOLDER / "client.mjs"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a call."""

    path: Path
    type: str = "image/png"

    def to_dict(self) -> dict[str, str]:
        return {"path": str(self.path), "name": self.path.name, "type": self.type}


def call(operation: str, *, request: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """One call of `client.images`; `request` are the client's own options of it."""
    params = {"model": DEPLOYMENT, "quality": "low", **params}
    return {"operation": operation, "params": _plain(params), "request": request or {}}


def make_calls(
    kind: str, stack: StackInfo, *calls: dict[str, Any], service: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """What came of `calls` by a client of the class `kind`; with `service`, of the model server behind the app."""
    endpoint = stack.model if service else stack.app
    address = (
        {"endpoint": endpoint, "apiVersion": API_VERSION}
        if kind == "AzureOpenAI"
        else {"baseURL": f"{endpoint}/openai/v1"}
    )
    given = {
        "apiKey": "unused",
        "defaultHeaders": {} if service else {"x-functions-key": stack.key},
        "timeout": TIMEOUT * 1000,
        **address,
        **options,
    }
    results = json.loads(run_node(_SCRIPT, ca=stack.ca, said={"kind": kind, "options": given, "calls": calls}))
    assert len(results) == len(calls)
    return list(results)


def _plain(value: Any) -> Any:
    if isinstance(value, File):
        return value.to_dict()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
