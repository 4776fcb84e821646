"""The one error type of Darkroom, and the one list of its codes.

Every room raises `DarkroomError`; the HTTP doors render it in the shape of the images API, the queue and the events
show the same code. A code of the list below fixes status, type and verdict; a refusal of the model service keeps the
service's own code and status (`from_service`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a failure means for the call that met it (design section 6)."""

    FAIL = "fail"
    """Permanent: asking again cannot help."""
    NOT_CONNECTED = "not_connected"
    """The request never left: ask again, another deployment first; no call is counted."""
    WAIT = "wait"
    """The service asked to wait: ask again when told, no attempt is counted."""
    ONCE_MORE = "once_more"
    """The service failed by its own account: one more try."""
    UNKNOWN = "unknown"
    """The request was sent and its outcome is not known: it may have been paid for."""
    DEPLOYMENT_OUT = "deployment_out"
    """This deployment cannot serve until its configuration changes; another may."""


@dataclass(frozen=True, slots=True)
class _Kind:
    status: int
    type: str
    verdict: Verdict = Verdict.FAIL


_INVALID = "invalid_request_error"
_SERVER = "server_error"

CODES: dict[str, _Kind] = {
    # What a caller sent.
    "invalid_json": _Kind(400, _INVALID),
    "invalid_multipart": _Kind(400, _INVALID),
    "invalid_type": _Kind(400, _INVALID),
    "invalid_value": _Kind(400, _INVALID),
    "missing_required_parameter": _Kind(400, _INVALID),
    "unknown_parameter": _Kind(400, _INVALID),
    "unsupported_parameter": _Kind(400, _INVALID),
    "invalid_image": _Kind(400, _INVALID),
    "invalid_mask": _Kind(400, _INVALID),
    "image_too_large": _Kind(400, _INVALID),
    "source_not_readable": _Kind(400, _INVALID),
    "request_too_large": _Kind(413, _INVALID),
    "unsupported_media_type": _Kind(415, _INVALID),
    "unauthorized": _Kind(401, "authentication_error"),
    "invalid_poll_token": _Kind(403, "permission_error"),
    "not_found": _Kind(404, _INVALID),
    "deployment_not_found": _Kind(404, _INVALID),
    "request_timeout": _Kind(408, _INVALID),
    "job_ended": _Kind(409, _INVALID),
    "job_not_ended": _Kind(409, _INVALID),
    "batch_ended": _Kind(409, _INVALID),
    "too_many_subscriptions": _Kind(409, _INVALID),
    "purged": _Kind(410, _INVALID),
    "range_not_satisfiable": _Kind(416, _INVALID),
    "idempotency_key_reused": _Kind(422, _INVALID),
    # What became of the turn at the model.
    "rate_limit_exceeded": _Kind(429, "rate_limit_error", Verdict.WAIT),
    "service_busy": _Kind(503, _SERVER, Verdict.WAIT),
    "source_unavailable": _Kind(503, _SERVER, Verdict.NOT_CONNECTED),
    "not_connected": _Kind(502, _SERVER, Verdict.NOT_CONNECTED),
    "service_error": _Kind(502, _SERVER, Verdict.ONCE_MORE),
    "outcome_unknown": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "deployment_refused": _Kind(502, _SERVER, Verdict.DEPLOYMENT_OUT),
    "deployment_unavailable": _Kind(503, _SERVER),
    "expired": _Kind(504, _SERVER),
    "abandoned": _Kind(503, _SERVER),
    "undeliverable": _Kind(500, _SERVER),
    "derivation_failed": _Kind(500, _SERVER),
    "still_running": _Kind(504, _SERVER),
    "callback_not_taken": _Kind(502, _SERVER),
    "canceled": _Kind(409, _INVALID),
    "lease_lost": _Kind(500, _SERVER),
    # What was wrong with an answer of the model (shown as the inner code of `outcome_unknown`).
    "response_not_json": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "response_broken_base64": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "response_cut": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "response_too_large": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "response_without_images": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "response_not_an_image": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "image_over_cap": _Kind(502, _SERVER, Verdict.UNKNOWN),
    "no_answer": _Kind(504, _SERVER, Verdict.UNKNOWN),
    "runner_died": _Kind(502, _SERVER, Verdict.UNKNOWN),
    # Darkroom itself.
    "misconfigured": _Kind(503, _SERVER),
    "storage_unavailable": _Kind(503, _SERVER),
    "signing_unavailable": _Kind(503, _SERVER),
    "internal_error": _Kind(500, _SERVER),
}


class DarkroomError(Exception):
    """A failure with a code of the list above, or with the model service's own.

    `message` is for the caller and names the field and the fix; it never holds a prompt, token or signed URL.
    `param` is the request field concerned. `inner` is a more precise code, shown as `inner_error.code`.
    `retry_after` is seconds to wait, where that is known. `extra` are members the service put beside the four
    standard ones (its filter verdicts), passed on as they came.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        inner: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        kind = CODES[code]
        self.code = code
        self.message = message
        self.param = param
        self.inner = inner
        self.retry_after = retry_after
        self.status = kind.status
        self.type = kind.type
        self.verdict = kind.verdict
        self.extra: dict[str, Any] = {}

    @classmethod
    def from_service(cls, status: int, error: dict[str, Any], verdict: Verdict = Verdict.FAIL) -> DarkroomError:
        """The model service's own refusal, its code, type, param and verdict members kept as they came."""
        known = {"message", "type", "param", "code"}
        self = cls("invalid_value", str(error.get("message") or "The model service refused the request."))
        self.status = status
        self.code = str(error.get("code") or status)
        self.type = str(error.get("type") or _INVALID)
        self.param = error.get("param") if isinstance(error.get("param"), str) else None
        self.verdict = verdict
        self.extra = {name: value for name, value in error.items() if name not in known}
        return self

    def to_dict(self) -> dict[str, Any]:
        """The `error` member of answers, job documents and events."""
        body: dict[str, Any] = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        if self.inner:
            body["inner_error"] = {"code": self.inner}
        return body | self.extra

    def to_row(self) -> dict[str, Any]:
        """What a job's row keeps: `to_dict()` with the HTTP status and the wait it was told."""
        return {**self.to_dict(), "status": self.status, "retry_after": self.retry_after}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> DarkroomError:
        """The failure a job ended with, to be shown again. The inverse of `to_row`."""
        shown = public(row)
        self = cls.from_service(int(row.get("status", 500)), shown)
        self.retry_after = row.get("retry_after")
        return self


def public(row: dict[str, Any]) -> dict[str, Any]:
    """The `error` member for answers and events from what a job's row keeps."""
    return {name: value for name, value in row.items() if name not in ("status", "retry_after")}
