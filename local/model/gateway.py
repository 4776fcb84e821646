"""What the gateway in front of the model looks at: api-version, headers, credential, deployment, rate limit.

`service.py` asks in that order, before it reads a body. Every refusal is a ServiceError in the gateway's own words.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection

from starlette.datastructures import Headers

from local.model import auth
from local.model.behaviour import Knobs
from local.model.calls import Call
from local.model.errors import (
    NAMED,
    ErrorContext,
    deployment_not_found,
    gateway_error,
    rate_limited,
    resource_not_found,
)
from local.model.headers import MAX_CUSTOM_HEADERS, custom_header_count
from local.model.limiter import Admission, SlidingWindow
from local.model.server import Server

FIRST_GENERATIONS_VERSION = "2024-02-01"
FIRST_EDITS_VERSION = "2025-04-01"
"""Older versions were seen to generate; edits on them answer 404 (pollinations#8239, azure-sdk-for-net#49697)."""
_DATED_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")


def error_context(call: Call, knobs: Knobs, retry_after_seconds: float | None = None) -> ErrorContext:
    """What error texts may mention of a call."""
    return ErrorContext(
        operation=call.operation,
        api_version=call.api_version or "v1",
        request_id=call.request_id,
        deployment=call.deployment or "",
        retry_after_seconds=5.0 if retry_after_seconds is None else retry_after_seconds,
        rate_limit_operation=knobs.rate_limit_operation,
    )


def check_gateway(
    call: Call, headers: Headers, caller: auth.Caller | None, keys: Collection[str], context: ErrorContext
) -> None:
    """Version, number of headers and credential. Raises ServiceError."""
    _check_version(call, context)
    if custom_header_count(headers) > MAX_CUSTOM_HEADERS:
        raise NAMED["too_many_headers"](context)
    refusal = auth.refusal(headers, caller, surface=call.surface, keys=keys, context=context)
    if refusal is not None:
        raise refusal


def _check_version(call: Call, context: ErrorContext) -> None:
    version = call.api_version
    if call.surface == "dated":
        first = FIRST_EDITS_VERSION if call.operation == "edits" else FIRST_GENERATIONS_VERSION
        if not version or not _DATED_VERSION.fullmatch(version) or version[:10] < first:
            raise resource_not_found(context)
    elif version not in (None, "v1", "preview"):
        raise gateway_error(400, "BadRequest", "API version not supported")


def admit(server: Server, call: Call, knobs: Knobs) -> Admission:
    """A place in the deployment's rate window. Raises ServiceError when there is no such deployment."""
    if call.deployment not in server.deployments:
        raise deployment_not_found(error_context(call, knobs))
    window = server.windows.setdefault(call.deployment or "", SlidingWindow())
    return window.take(time.monotonic(), knobs.rpm, knobs.window)


def check_rate(admission: Admission, call: Call, knobs: Knobs) -> None:
    """Raises the 429 of a call that found no place."""
    if not admission.allowed:
        raise rate_limited(error_context(call, knobs, admission.reset_seconds))
