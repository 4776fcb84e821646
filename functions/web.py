"""What the HTTP doors share: who calls, a body within its limit, errors in the shape of the images API."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from azurefunctions.extensions.http.fastapi import JSONResponse, Request, Response
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from functions.arriving import Held, in_time
from shared.errors import DarkroomError
from shared.images.fields import refuse_unknown
from shared.platform import incoming, principals, strict_json, telemetry
from shared.platform.blobs import BlobResponse
from shared.platform.principals import Caller
from shared.settings import settings

_LARGE_JSON_BYTES = 2**20  # parsing more would hold up the event loop for milliseconds

GUARDED_BY_KEYS = principals.keys_guard()

REPLAYED = {"idempotency-replayed": "true"}
"""On every answer that is about an earlier request's job, as Stripe has it
(https://docs.stripe.com/api/idempotent_requests)."""

_EXPOSED = ", ".join(
    (
        *("etag", "content-range", "accept-ranges", "location", "retry-after", "retry-after-ms", "preference-applied"),
        *("idempotency-replayed", "x-should-retry", "x-request-id"),
        *("x-darkroom-job", "x-darkroom-cost", "x-darkroom-provenance"),
    )
)
"""What pages of another origin may read of an answer's headers. Which origins those are the platform decides, and it
cannot say this (Azure/azure-mobile-apps-node#323)."""

Handler = Callable[[Request], Awaitable[Response]]


def door(handler: Handler) -> Handler:
    """Render every failure of `handler` as an error of the images API; a stack trace stays in the log."""

    @functools.wraps(handler)
    async def guarded(req: Request) -> Response:
        try:
            async with incoming.request(handler.__name__, req.method, req.headers):
                response = await handler(req)
        except Exception as error:  # noqa: BLE001 - the last fence before a caller would see a stack trace
            response = error_response(as_error(handler.__name__, error))
        invocation = req.headers.get("x-ms-invocation-id")
        if invocation:
            response.headers["x-request-id"] = invocation  # what the official clients show as the request's id
        if "origin" in req.headers or "etag" in response.headers:  # what may be kept is the same for whoever asks
            response.headers["access-control-expose-headers"] = _EXPOSED
        response.background = BackgroundTask(_forget, invocation)
        return response

    return guarded


async def _forget(invocation_id: str | None) -> None:
    """Let the runtime library forget a request that was answered: in streams mode it keeps 2 KB of each for ever
    (azure-functions-runtime 1.3.0, `HttpCoordinator`). By then it has taken the response out; a version without this
    member has nothing to be forgotten."""
    with contextlib.suppress(ImportError, AttributeError):
        from azure_functions_runtime.http_v2 import http_coordinator

        http_coordinator._context_references.pop(invocation_id, None)


def as_error(where: str, error: Exception) -> DarkroomError:
    """`error` for the caller: what is no `DarkroomError` becomes `internal_error`, and its trace goes to the log."""
    if isinstance(error, DarkroomError):
        return error
    if isinstance(error, ClientDisconnect):
        return DarkroomError("invalid_value", "The caller left before the whole request had come.")
    telemetry.log_unexpected(where, error)
    return internal_error()


def internal_error() -> DarkroomError:
    """What a caller is told of a failure nobody foresaw."""
    return DarkroomError("internal_error", "Darkroom failed; the log of the app says why.")


def error_response(error: DarkroomError, headers: dict[str, str] | None = None) -> Response:
    headers = dict(headers or {})
    if error.retry_after is not None:
        headers["retry-after-ms"] = str(max(1, round(error.retry_after * 1000)))
        headers["retry-after"] = str(max(1, round(error.retry_after + 0.5)))
    return JSONResponse({"error": error.to_dict()}, status_code=error.status, headers=headers)


def caller(req: Request) -> Caller:
    """Raises `unauthorized` where the platform leaves the guard to the app and vouches for nobody."""
    return principals.identify(req.headers, guarded_by_keys=GUARDED_BY_KEYS, platform_auth=settings().platform_auth)


def query(req: Request, *names: str) -> dict[str, str]:
    """The query parameters of a route that knows `names` only; the platform's own `code`, a function key, is left out.

    Raises `unknown_parameter`, and `invalid_value` for one that is given twice.
    """
    given = {name: value for name, value in req.query_params.items() if name != "code"}
    refuse_unknown(sorted(given), names)
    for name in given:
        if len(req.query_params.getlist(name)) > 1:
            raise DarkroomError("invalid_value", f"'{name}' is given more than once; send it once.", param=name)
    return given


def content_type(req: Request) -> str:
    """The media type of the body in lower case, without its parameters; empty where none is given."""
    return str(req.headers.get("content-type", "")).split(";")[0].strip().lower()


async def body_chunks(req: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `request_too_large` at once by its declared length, else where it passes;
    `request_timeout` for one that stops or takes too long; and `unsupported_media_type` for a compressed one."""
    coding = str(req.headers.get("content-encoding", "")).strip().lower()
    if coding not in ("", "identity"):
        raise DarkroomError("unsupported_media_type", "Send the body as it is, without a Content-Encoding.")
    limit = settings().max_request_bytes
    too_large = DarkroomError("request_too_large", f"The body is larger than {limit} bytes, the limit of this app.")
    if int(req.headers.get("content-length", "0")) > limit:
        raise too_large
    taken = 0
    async for chunk in in_time(req.stream()):
        taken += len(chunk)
        if taken > limit:
            raise too_large
        yield chunk


async def json_body(req: Request, *, also: str = "") -> Any:
    """The body as JSON. Raises `unsupported_media_type`, which names `also`, another type the route takes;
    `invalid_json`; `rate_limit_exceeded` where bodies of others fill the memory that is meant for them; and what
    `body_chunks` raises."""
    kind = content_type(req)
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        types = f"application/json or {also}" if also else "application/json"
        raise DarkroomError("unsupported_media_type", f"Send the body with Content-Type: {types}, not '{kind[:100]}'.")
    body = bytearray()
    with Held() as held:
        async for chunk in held.counted(body_chunks(req)):
            body += chunk
        return await parse_json(body)


async def parse_json(text: bytes | bytearray) -> Any:
    """Strict JSON, a large one beside the event loop. Raises `invalid_json`."""
    large = len(text) >= _LARGE_JSON_BYTES
    return await asyncio.to_thread(strict_json.parse, text) if large else strict_json.parse(text)


async def closing(blob: BlobResponse) -> AsyncIterator[bytes]:
    """The bytes of `blob`, which is closed when they end or the caller leaves."""
    async with blob:
        async for chunk in blob.chunks():
            yield chunk
