"""Either a value or the refusal that came instead: for properties over input nobody chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.errors import DarkroomError


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except DarkroomError as refusal:
        return refusal
