"""Steering the GPT-Image server and asking it what it saw, from a test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class ModelControl:
    """The `/_local` doors of the server at `url`."""

    url: str

    def behave(self, **behaviour: Any) -> None:
        """Set knobs, and the faults of the calls to come: `faults=[{...}]` (see `local.model.behaviour`)."""
        answer = _client().put(f"{self.url}/_local/behaviour", json=behaviour)
        assert answer.status_code == 200, answer.text

    def fail(self, *faults: dict[str, Any]) -> None:
        """Let the next calls go wrong, each in its own way."""
        self.behave(faults=list(faults))

    def calls(self) -> list[dict[str, Any]]:
        """The calls since `forget`, oldest first."""
        calls: list[dict[str, Any]] = _client().get(f"{self.url}/_local/calls").json()
        return calls

    def forget(self) -> None:
        """As if just started: no calls seen, no faults to come, knobs as they were."""
        for what in ("behaviour", "calls"):
            _client().delete(f"{self.url}/_local/{what}").raise_for_status()


@cache
def _client() -> httpx.Client:
    """Made on first use: the session's certificate authority must be in the environment by then."""
    return httpx.Client(timeout=20)
