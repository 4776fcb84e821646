"""The host's own settings: `host.json` of the app, app settings that override it, and a few of this host's.

`__main__.py` reads them once. Defaults and ranges are those of the Functions host and its storage extension
(reference: docs `functions-host-json`; QueuesOptions.cs and BlobsOptions.cs in Azure/azure-sdk-for-net).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_REQUEST_BODY_LIMIT = 104_857_600
"""Bytes; Kestrel's limit as the Functions host sets it (ScriptConstants.cs)."""


class SettingsError(Exception):
    """A setting is missing or malformed; the message names it."""


@dataclass(frozen=True)
class QueueSettings:
    """`extensions.queues` of host.json. Times in seconds; `lease` is this host's (Azure's is 600)."""

    base64: bool = True
    batch_size: int = 16
    new_batch_threshold: int = 8
    max_polling_interval: float = 60.0
    visibility_timeout: float = 0.0
    max_dequeue_count: int = 5
    lease: float = 60.0


@dataclass(frozen=True)
class BlobSettings:
    """`extensions.blobs` of host.json (BlobsOptions.cs): runs at once on one worker, and tries of one message."""

    max_degree_of_parallelism: int = 8 * (os.cpu_count() or 1)
    poison_blob_threshold: int = 5


@dataclass(frozen=True)
class HostSettings:
    """Everything the host is told. `route_prefix` without slashes; times in seconds; sizes in bytes."""

    app: Path
    key: str = field(repr=False)
    route_prefix: str = "api"
    request_body_limit: int = DEFAULT_REQUEST_BODY_LIMIT
    function_timeout: float | None = 1800.0
    log_level: str = "INFO"
    grace: float = 5.0
    trust_principal_headers: bool = False
    homepage: bool = True
    origins: tuple[str, ...] = ()
    state_directory: Path | None = None
    queues: QueueSettings = QueueSettings()
    blobs: BlobSettings = BlobSettings()


def read_settings(app: Path, environment: Mapping[str, str] = os.environ) -> HostSettings:
    """Settings for the app in directory `app`. Raises SettingsError."""
    if not (app / "host.json").is_file():
        raise SettingsError(f"{app} holds no host.json: it is not a Functions app.")
    key = environment.get("LOCAL_HOST_KEY", "")
    if not key:
        raise SettingsError("LOCAL_HOST_KEY is not set: it is the function key that callers of this host send.")
    configuration = _with_overrides(json.loads((app / "host.json").read_text(encoding="utf-8")), environment)
    try:
        return HostSettings(
            app=app,
            key=key,
            route_prefix=str(_member(configuration, "extensions", "http", "routePrefix", default="api")).strip("/"),
            request_body_limit=int(environment.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", DEFAULT_REQUEST_BODY_LIMIT)),
            function_timeout=_timeout(_member(configuration, "functionTimeout", default="00:30:00")),
            log_level=_log_level(_member(configuration, "logging", "logLevel", "default", default="Information")),
            grace=float(environment.get("LOCAL_HOST_GRACE_SECONDS", 5)),
            trust_principal_headers=environment.get("WEBSITE_AUTH_ENABLED", "").lower() == "true",
            homepage=environment.get("AzureWebJobsDisableHomepage", "").lower() != "true",
            origins=tuple(environment.get("CORS_ORIGINS", "").replace(",", " ").split()),
            state_directory=Path(state) if (state := environment.get("LOCAL_HOST_STATE_DIR")) else None,
            queues=_queue_settings(_member(configuration, "extensions", "queues", default={}), environment),
            blobs=_blob_settings(_member(configuration, "extensions", "blobs", default={})),
        )
    except ValueError as error:
        raise SettingsError(f"host.json or a setting of the local host is wrong: {error}.") from error


def parse_time_span(text: str) -> float:
    """Seconds of a .NET TimeSpan, `[d.]hh:mm[:ss[.f]]`. An hour above 23 makes it `dd:hh:mm`, as .NET reads it."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d+)?))?", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a time span such as 00:05:00")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if hours > 23 and match[1] is None:
        days, hours, minutes, seconds = hours, minutes, seconds, 0.0
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _queue_settings(queues: dict[str, Any], environment: Mapping[str, str]) -> QueueSettings:
    batch_size = int(_member(queues, "batchSize", default=16))
    if not 1 <= batch_size <= 32:
        raise ValueError(f"batchSize {batch_size} is not between 1 and 32")
    encoding = str(_member(queues, "messageEncoding", default="base64")).lower()
    if encoding not in ("base64", "none"):
        raise ValueError(f"messageEncoding '{encoding}' is neither base64 nor none")
    return QueueSettings(
        base64=encoding == "base64",
        batch_size=batch_size,
        new_batch_threshold=int(_member(queues, "newBatchThreshold", default=batch_size // 2)),
        max_polling_interval=parse_time_span(str(_member(queues, "maxPollingInterval", default="00:01:00"))),
        visibility_timeout=parse_time_span(str(_member(queues, "visibilityTimeout", default="00:00:00"))),
        max_dequeue_count=max(1, int(_member(queues, "maxDequeueCount", default=5))),
        lease=float(environment.get("LOCAL_HOST_QUEUE_LEASE_SECONDS", 60)),
    )


def _blob_settings(blobs: dict[str, Any]) -> BlobSettings:
    default = BlobSettings()
    settings = BlobSettings(
        int(_member(blobs, "maxDegreeOfParallelism", default=default.max_degree_of_parallelism)),
        int(_member(blobs, "poisonBlobThreshold", default=default.poison_blob_threshold)),
    )
    if settings.max_degree_of_parallelism < 1 or settings.poison_blob_threshold < 1:
        raise ValueError("maxDegreeOfParallelism and poisonBlobThreshold are at least 1")
    return settings


def _with_overrides(configuration: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """host.json with each app setting `AzureFunctionsJobHost__a__b` put in at `a.b`."""
    configuration = _lower_names(configuration)
    for name, value in environment.items():
        first, *path = name.lower().split("__")
        if first != "azurefunctionsjobhost" or not path:
            continue
        place = configuration
        for member in path[:-1]:
            place = place.setdefault(member, {})
        place[path[-1]] = value
    return configuration


def _lower_names(value: Any) -> Any:
    """Names in lower case throughout: .NET configuration ignores case."""
    if isinstance(value, dict):
        return {name.lower(): _lower_names(member) for name, member in value.items()}
    return value


def _member(configuration: dict[str, Any], *path: str, default: Any) -> Any:
    """The value at `path`, whose names are given in the spelling of the documentation."""
    place: Any = configuration
    for member in path:
        if not isinstance(place, dict) or member.lower() not in place:
            return default
        place = place[member.lower()]
    return place


def _timeout(text: str) -> float | None:
    return None if str(text).startswith("-") else parse_time_span(str(text))


def _log_level(name: str) -> str:
    levels = {"trace": "DEBUG", "debug": "DEBUG", "information": "INFO", "warning": "WARNING", "error": "ERROR"}
    return levels.get(str(name).lower(), "CRITICAL")
