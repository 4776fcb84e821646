"""The call: one POST to a GPT-Image deployment, its answer decoded into a sink while it arrives.

Who comes in: the pipeline, holding a job's lease and slot. What goes out: the answer's JSON without its images, or a
`DarkroomError` whose verdict says what may follow (design section 6). Nothing is retried here: whether a call may be
repeated depends on what the job already paid for, and only the pipeline knows that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from shared.errors import DarkroomError
from shared.model import deployments
from shared.model.answer_kind import told_apart
from shared.model.decode import ImageSink, decode_images
from shared.model.events import StreamedError, decode_events
from shared.model.listening import Listener
from shared.model.payload import Payload
from shared.platform import metrics, strict_json
from shared.settings import Deployment

if TYPE_CHECKING:
    import httpx

MAX_ERROR_BYTES = 2**20
CALL_TIMEOUT_SECONDS = 600.0
"""For a whole call, its answer included: far over the 130 s a generation takes, under the host's functionTimeout."""
CONNECT_TIMEOUT_SECONDS = 10.0

_POLICY_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "contentFilter",
        "content_filter",
        "ResponsibleAIPolicyViolation",
    }
)
_POLICY_WORDS = ("content policy", "content management policy", "temporarily blocked", "abuse", "responsible ai")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer's JSON with each image replaced by its index, and the service's id of the request."""

    body: dict[str, Any]
    request_id: str | None
    region: str | None


async def call(
    client: httpx.AsyncClient,
    authorize: Callable[[], Awaitable[str]],
    deployment: Deployment,
    kind: str,
    payload: Payload,
    sink: ImageSink,
    *,
    may_send: Callable[[], None],
    listener: Listener | None = None,
) -> Answer:
    """POST `payload` to `deployment` and decode the images of its answer into `sink`, while `listener` hears it.

    `may_send` is asked right before the first byte leaves, when token and connection are there; what it raises stops
    the call. Raises `DarkroomError`: `not_connected` when the request certainly never left; `outcome_unknown` (with
    the cause as inner code) when it was sent and no whole answer came back; otherwise what the service said.
    """
    import httpx

    from shared.platform.transport import SentBody

    source = _Source(payload, may_send)
    body = SentBody(source.read(), length=payload.length)
    request = client.build_request(
        "POST",
        deployments.url(deployment, kind),
        content=body,
        headers={
            "authorization": await _token(authorize, deployment),
            "content-type": payload.content_type,
            "accept": "application/json, text/event-stream",
            **body.headers,
        },
        timeout=httpx.Timeout(CALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
    )
    try:
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            return await _exchange(client, request, payload.images, sink, listener)
    except (httpx.TransportError, TimeoutError) as error:
        if isinstance(source.failure, DarkroomError) and source.failure.code != "storage_unavailable":
            raise source.failure from error
        if source.failure is not None:
            raise DarkroomError("source_unavailable", "A stored source of this edit could not be read.") from error
        if body.sent:
            raise unknown("no_answer", "the connection ended before an answer came") from error
        raise DarkroomError("not_connected", f"Deployment '{deployment.name}' could not be reached.") from error


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, images: int | None, sink: ImageSink, listener: Listener | None
) -> Answer:
    sent = client.send(request, stream=True)
    response = await metrics.timed("wait for answer", "darkroom.model.duration", sent)
    try:
        if response.status_code != 200:
            raise refusal(response.status_code, response.headers, await _error_body(response))
        return await metrics.timed("decode", "darkroom.decode.duration", _answer(response, images, sink, listener))
    finally:
        await response.aclose()


class _Source:
    """The payload's bytes, noting why reading them failed: then the service never had the whole request."""

    def __init__(self, payload: Payload, may_send: Callable[[], None]) -> None:
        self._payload = payload
        self._may_send = may_send
        self.failure: Exception | None = None

    async def read(self) -> AsyncIterator[bytes]:
        try:
            self._may_send()
            async for chunk in self._payload.read():
                yield chunk
        except Exception as error:
            self.failure = error
            raise


async def _token(authorize: Callable[[], Awaitable[str]], deployment: Deployment) -> str:
    from azure.core.exceptions import AzureError

    try:
        return await authorize()
    except AzureError as error:
        raise DarkroomError(
            "not_connected", f"No token for deployment '{deployment.name}': the identity endpoint did not answer."
        ) from error


async def _answer(response: httpx.Response, images: int | None, sink: ImageSink, listener: Listener | None) -> Answer:
    try:
        streamed, chunks = await told_apart(response.aiter_raw(), response.headers.get("content-type", ""))
        if streamed:
            body = await decode_events(chunks, sink, listener, images=images)
        else:
            length = response.headers.get("content-length", "")
            declared = int(length) if length.isascii() and length.isdigit() else None
            body = await decode_images(chunks, sink, listener, length=declared)
    except StreamedError as streamed:
        raise _failed_with_200(streamed.error, "stream_error") from streamed
    except DarkroomError as error:
        # Also what the sink raises: the model had answered, so the images that could not be taken are paid for.
        raise unknown(error.code, error.message) from error
    if isinstance(body.get("error"), dict):
        raise _failed_with_200(body["error"], "response_without_images")
    if not isinstance(body.get("usage"), dict):
        body.pop("usage", None)  # images that were paid for are not lost over what is said beside them
    if listener is not None:
        await listener.ended()
    return Answer(body, _request_id(response.headers), response.headers.get("x-ms-region"))


def _failed_with_200(error: dict[str, Any], inner: str) -> DarkroomError:
    if error.get("code") in _POLICY_CODES:
        return DarkroomError.from_service(400, error)
    return unknown(inner, "the answer says 200 and holds an error")


def unknown(inner: str, what: str) -> DarkroomError:
    """`outcome_unknown`: the request was sent and may have been paid for. `what` says why nothing came of it."""
    return DarkroomError(
        "outcome_unknown",
        f"The model may have made and billed this image, but its answer did not arrive whole: {what.rstrip('.')}. "
        "It was not asked for again; submit the request again if you accept paying twice.",
        inner=inner,
    )


def refusal(status: int, headers: Any, body: bytes) -> DarkroomError:
    """The failure behind a status other than 200, with its verdict (design section 6)."""
    error = _service_error(body)
    if status in (429, 503):
        code = "rate_limit_exceeded" if status == 429 else "service_busy"
        message = "The model service asks to wait." if error is None else str(error.get("message"))
        return DarkroomError(code, message, inner=_code(error), retry_after=retry_after(headers))
    if status == 408 or (status == 500 and error is not None):
        message = f"The model service failed (HTTP {status}), request {_request_id(headers) or 'without id'}."
        return DarkroomError("service_error", message, inner=_code(error))
    if status >= 500 or status < 400:
        return unknown("no_answer", f"HTTP {status} without an answer of the model")
    if status in (401, 404) or (status == 403 and not _is_policy(error)):
        message = f"The deployment refuses this app (HTTP {status}, {_code(error) or 'no code'})."
        return DarkroomError("deployment_refused", message, inner=_code(error))
    return DarkroomError.from_service(status, error or {"code": str(status), "message": f"HTTP {status}."})


def _is_policy(error: dict[str, Any] | None) -> bool:
    if error is None:
        return False
    text = str(error.get("message", "")).lower()
    return error.get("code") in _POLICY_CODES or any(word in text for word in _POLICY_WORDS)


def _service_error(body: bytes) -> dict[str, Any] | None:
    """The `error` object of an answer, whichever of the service's three families it is of; None without one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    # Half a surrogate pair, left by a service that cut its own message, could not be written to a caller again.
    document = strict_json.encodable(document)
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    return document if "message" in document else None


def _code(error: dict[str, Any] | None) -> str | None:
    code = (error or {}).get("code")
    return str(code) if code else None


def _request_id(headers: Any) -> str | None:
    found: str | None = headers.get("apim-request-id") or headers.get("x-request-id")
    return found


def retry_after(headers: Any) -> float | None:
    """Seconds to wait by `retry-after-ms`, else by `Retry-After` (seconds or an HTTP date); None without either."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo else None


async def _error_body(response: httpx.Response) -> bytes:
    """At most 1 MiB of an error's body; an answer cut here still has its status."""
    import httpx

    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ERROR_BYTES:
                break
    except httpx.TransportError:
        pass
    return bytes(body[:MAX_ERROR_BYTES])
