"""What an app consists of: its functions and bindings as the worker reported them, made ready for the host.

`host.py` comes in with the worker's list; everyone else gets `Function`s. What this host cannot serve is refused here,
at start, by name, so that nothing looks as if it ran.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SERVED = ("httpTrigger", "http", "queueTrigger", "blobTrigger", "timerTrigger", "eventGridTrigger")
"""Binding types of this host. The app writes through its own SDK clients, so outputs other than `http` are absent."""


class UnservedAppError(Exception):
    """The app needs something that this host does not have, or a setting that is not there; the message says which."""


@dataclass(frozen=True)
class Function:
    """One function of the app. `bindings` are the dicts of function.json, `id` is the runtime's."""

    id: str
    name: str
    bindings: tuple[dict[str, Any], ...]

    @cached_property
    def trigger(self) -> dict[str, Any]:
        """The one binding that starts the function."""
        return next(binding for binding in self.bindings if binding["type"].endswith("Trigger"))

    @property
    def kind(self) -> str:
        """The trigger's type, such as `queueTrigger`."""
        return str(self.trigger["type"])


def read_functions(reported: list[dict[str, Any]], environment: Mapping[str, str] = os.environ) -> list[Function]:
    """The app's enabled functions, from the worker's report.

    `AzureWebJobs.<name>.Disabled` (or with `_` for the dots) set to true or 1 leaves a function out, as in Azure.
    Raises UnservedAppError for a binding type that this host does not serve.
    """
    functions = [
        Function(entry["id"], entry["name"], tuple(json.loads(binding) for binding in entry["bindings"]))
        for entry in reported
    ]
    for function in functions:
        for binding in function.bindings:
            if binding["type"] not in SERVED:
                raise UnservedAppError(
                    f"Function '{function.name}' has a binding '{binding['name']}' of type '{binding['type']}', "
                    f"which the local host does not serve. It serves: {', '.join(SERVED)}."
                )
        if function.kind == "blobTrigger":
            _check_blob_trigger(function)
    return [function for function in functions if not _disabled(function.name, environment)]


def _check_blob_trigger(function: Function) -> None:
    trigger = function.trigger
    if trigger.get("source") != "EventGrid":
        raise UnservedAppError(
            f"The blob trigger of function '{function.name}' polls its container, which Flex Consumption does not do. "
            "Give it the source EventGrid (source=BlobSource.EVENT_GRID)."
        )
    if not (trigger.get("properties") or {}).get("SupportsDeferredBinding"):
        raise UnservedAppError(
            f"Parameter '{trigger['name']}' of function '{function.name}' takes the bytes of each blob, which loads it "
            "whole; the local host sends a reference only. Give it an SDK type (a subclass of SdkType of "
            "azurefunctions.extensions.base, with its converter)."
        )


def _disabled(name: str, environment: Mapping[str, str]) -> bool:
    values = (environment.get(f"AzureWebJobs.{name}.Disabled"), environment.get(f"AzureWebJobs_{name}_Disabled"))
    return any(value is not None and value.strip().lower() in ("true", "1") for value in values)


def resolve_settings(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with each `%NAME%` replaced by that app setting. Raises UnservedAppError for one that is not set."""

    def value(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise UnservedAppError(f"'{text}' names the app setting '{match[1]}', which is not set.") from None

    return re.sub(r"%([^%\s]+)%", value, text)
