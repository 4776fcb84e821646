"""CloudEvents 1.0 as Event Grid takes them: three ways to write them, one set of rules.

`topic.py` comes in with a request's content type, headers and body, and leaves with valid events or `EventError`.
Rules: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md (attributes), `formats/json-format.md`
(members) and `bindings/http-protocol-binding.md` (structured, batched and binary mode).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

BATCH = "application/cloudevents-batch+json"
STRUCTURED = "application/cloudevents+json"

_REQUIRED = ("specversion", "id", "source", "type")
_DATA_MEMBERS = ("data", "data_base64")
_NAME = re.compile(r"[a-z0-9]+")
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:.+")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+\-]+/[\w!#$&^.+\-]+\s*(?:;.*)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+\-]\d\d:\d\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INTEGER_LIMIT = 2**31


class EventError(ValueError):
    """What was sent is no CloudEvent; the message says which event and which rule."""


def read_events(content_type: str, headers: Mapping[str, str], body: bytes) -> list[dict[str, Any]]:
    """Return the events of a request, each in the JSON format's shape, in the order they came.

    `headers` have lower-case names. Raises EventError when the request is in none of the three modes or an event breaks
    a rule; then none of the events counts.
    """
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type in {BATCH, STRUCTURED} and "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise EventError("The JSON format is UTF-8; another charset was declared.")
    if media_type == BATCH:
        events = _parse(body)
        if not isinstance(events, list):
            raise EventError("A batch is a JSON array of events.")
        return [check_event(event, f"event {index}") for index, event in enumerate(events)]
    if media_type == STRUCTURED:
        return [check_event(_parse(body), "the event")]
    if "ce-specversion" in headers:
        return [check_event(_read_binary(content_type, headers, body), "the event")]
    raise EventError(
        f"This topic takes CloudEvents 1.0 only: send Content-Type {BATCH} or {STRUCTURED}, or ce- headers."
    )


def check_event(event: Any, where: str) -> dict[str, Any]:
    """Return `event` without its null members, or raise EventError. `where` names it in the message."""
    if not isinstance(event, dict):
        raise EventError(f"{where} is no JSON object.")
    present: dict[str, Any] = {name: value for name, value in event.items() if value is not None}  # null is absent
    for name in _REQUIRED:
        if name not in present:
            raise EventError(f"{where} lacks the required attribute '{name}'.")
    if all(member in present for member in _DATA_MEMBERS):
        raise EventError(f"{where} has both 'data' and 'data_base64'.")
    for name, value in present.items():
        if name == "data_base64":
            _check_base64(value, where)
        elif name != "data":
            problem = _problem(name, value)
            if problem:
                raise EventError(f"{where}: attribute '{name}' {problem}.")
    return present


def _problem(name: str, value: Any) -> str | None:
    """Return what is wrong with one context attribute, as the end of a sentence."""
    if not _NAME.fullmatch(name):
        return "is misnamed: lower-case ASCII letters and digits only"
    if name in _CHECKS:
        if not isinstance(value, str) or not value:
            return "must be a string that is not empty"
        if _CONTROL.search(value):
            return "holds control characters"
        return _CHECKS[name](value)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else "is beyond 32 bits"
    if isinstance(value, str):
        return "holds control characters" if _CONTROL.search(value) else None
    return "must be a string, a boolean or a whole number"


def _time_problem(value: str) -> str | None:
    try:
        valid = _TIME.fullmatch(value) is not None and datetime.fromisoformat(value.upper()) is not None
    except ValueError:
        valid = False
    return None if valid else "is no RFC 3339 timestamp with an offset"


_CHECKS: Mapping[str, Callable[[str], str | None]] = {
    "specversion": lambda value: None if value == "1.0" else "must be '1.0'",
    "id": lambda _: None,
    "type": lambda _: None,
    "subject": lambda _: None,
    "source": lambda value: None if _URI_REFERENCE.fullmatch(value) else "is no URI reference",
    "dataschema": lambda value: (
        None if _ABSOLUTE_URI.fullmatch(value) and _URI_REFERENCE.fullmatch(value) else "is no absolute URI"
    ),
    "datacontenttype": lambda value: None if _MEDIA_TYPE.fullmatch(value) else "is no media type",
    "time": _time_problem,
}


def _check_base64(value: Any, where: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise EventError(f"{where}: 'data_base64' is no base64 text.") from None


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise EventError("The body is no JSON text in UTF-8.") from None


def _read_binary(content_type: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the event whose attributes are `ce-` headers (percent-encoded) and whose data is the body."""
    event: dict[str, Any] = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    if content_type:
        event["datacontenttype"] = content_type
    if not body:
        return event
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        event["data"] = _parse(body)
    elif media_type.startswith("text/"):
        event["data"] = body.decode("utf-8", errors="replace")
    else:
        event["data_base64"] = base64.b64encode(body).decode()
    return event
