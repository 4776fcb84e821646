"""What all calls of one server share: deployments, behaviour, call log, rate windows, and the studio that draws."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.model.behaviour import Behaviour, Knobs
from local.model.calls import CallLog
from local.model.deployments import Model
from local.model.limiter import SlidingWindow
from local.model.provenance import ImageSigner
from local.model.studio import Studio


@dataclass
class Server:
    """The shared state. It belongs to the event loop; only the studio works in threads."""

    deployments: Mapping[str, Model]
    behaviour: Behaviour
    studio: Studio
    keys: Collection[str] = ()
    """API keys to take; empty takes any."""
    calls: CallLog = field(default_factory=CallLog)
    windows: dict[str, SlidingWindow] = field(default_factory=dict)
    """By deployment."""


def make_server(
    state_dir: Path, deployments: Mapping[str, Model], defaults: Knobs, keys: Collection[str] = ()
) -> Server:
    """A server whose signing certificates live in `state_dir` (made there at the first start)."""
    return Server(deployments, Behaviour(defaults), Studio(ImageSigner(state_dir)), keys)
