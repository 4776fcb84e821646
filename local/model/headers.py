"""Response headers that a client of the real service meets, and the check on what it sends.

Source: the specification (`apim-request-id`), the quotas page (`x-ratelimit-*`, at most ten custom request headers),
and captures published by users for the rest.
"""

from __future__ import annotations

import math

from starlette.datastructures import Headers

from local.model.calls import Call
from local.model.limiter import Admission

MAX_CUSTOM_HEADERS = 10
_USUAL_REQUEST_HEADERS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "api-key",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "date",
        "dnt",
        "expect",
        "forwarded",
        "from",
        "host",
        "idempotency-key",
        "keep-alive",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "origin",
        "pragma",
        "prefer",
        "priority",
        "referer",
        "request-id",
        "te",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
    }
)
_USUAL_PREFIXES = ("x-stainless-", "x-ms-", "sec-", "x-forwarded-")


def custom_header_count(headers: Headers) -> int:
    """How many request headers are of the caller's own making; more than ten are a 431."""
    names = {name.lower() for name in headers}
    return sum(1 for name in names - _USUAL_REQUEST_HEADERS if not name.startswith(_USUAL_PREFIXES))


def common_headers(call: Call, region: str, admission: Admission | None, rpm: float) -> list[tuple[str, str]]:
    """On every answer. The token trio of `x-ratelimit-*` is absent: image models are limited by requests alone."""
    headers = [
        ("apim-request-id", call.request_id),
        ("x-request-id", call.request_id),
        ("x-ms-region", region),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-content-type-options", "nosniff"),
    ]
    client_id = call.headers.get("x-ms-client-request-id")
    if client_id:
        headers.append(("x-ms-client-request-id", client_id))
    if admission is not None and admission.limit:
        headers += [
            ("x-ratelimit-limit-requests", f"{rpm:g}"),
            ("x-ratelimit-remaining-requests", str(admission.remaining)),
            ("x-ratelimit-reset-requests", str(math.ceil(admission.reset_seconds))),
        ]
    return headers


def model_headers(deployment: str, model: str, *, streaming: bool) -> list[tuple[str, str]]:
    """On the model's own answers."""
    headers = [
        ("x-ms-rai-invoked", "true"),
        ("x-ms-deployment-name", deployment),
        ("x-ms-served-model", model),
        ("azureml-model-session", "local-001"),
        ("azureai-fe-is-streaming", "true" if streaming else "false"),
    ]
    if streaming:
        headers += [("x-accel-buffering", "no"), ("cache-control", "no-cache")]
    return headers


def with_changes(
    headers: list[tuple[str, str]], replaced: dict[str, str] | None, repeated: dict[str, str] | None
) -> list[tuple[str, str]]:
    """`headers` with some replaced by name and some sent a second time."""
    names = {name.lower() for name in replaced or {}}
    kept = [(name, value) for name, value in headers if name.lower() not in names]
    return [*kept, *(replaced or {}).items(), *(repeated or {}).items()]
