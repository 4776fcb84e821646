"""Callbacks: an ended job POSTed to the URL its request named, signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: `webhook-id` is the same on
every delivery of one end, `webhook-timestamp` the time of this one, `webhook-signature` one HMAC-SHA256 for each key.

No receiver knows the app's own keys: each host has keys derived from them, so that it can check what it gets and can
forge nothing for another host.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.delivery import events
from shared.platform import tracing
from shared.platform.destinations import AllowList

_PREFIX = "whsec_"
_PURPOSE = "darkroom callback "


def host_key(signing_key: str, host: str) -> str:
    """The key of receivers at `host` (lower case, no trailing dot), derived from one of `CALLBACK_SIGNING_KEY`; both as
    `whsec_` and base64."""
    derived = hmac.digest(_secret(signing_key), f"{_PURPOSE}{host}".encode("ascii"), hashlib.sha256)
    return f"{_PREFIX}{base64.b64encode(derived).decode('ascii')}"


def payload(document: Mapping[str, Any]) -> bytes:
    """The body for an ended job: the type and the time of its event, and the job as `data`."""
    message = {
        "type": events.type_of(document["status"]),
        "timestamp": document["finished_at"],
        "data": document,
    }
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def headers(signing_keys: Iterable[str], host: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of `body` for a receiver at `host`, with its keys derived from `signing_keys`."""
    return signed([host_key(key, host) for key in signing_keys], message_id, at, body)


def signed(keys: Iterable[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of `body` for a receiver that has `keys`. `message_id` holds no full stop: that delimits what is
    signed."""
    timestamp = str(int(at.timestamp()))
    content = b".".join((message_id.encode("ascii"), timestamp.encode("ascii"), body))
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(key, content)}" for key in keys),
    }


async def post(
    url: str,
    message_id: str,
    body: bytes,
    *,
    allowed: AllowList,
    signing_keys: Iterable[str],
    at: datetime,
    traceparent: str = "",
) -> int:
    """Sign `body` for the host of `url` and post it there; the status of the answer.

    Raises `OutboundError` when the host is not to be called, or gives no answer.
    """
    from shared.platform.outbound import Outbound

    host = allowed.destination(url).host
    sent = headers(signing_keys, host, message_id, at, body)
    return await Outbound(allowed).post(url, body, sent | tracing.headers(traceparent))


def _signature(key: str, content: bytes) -> str:
    return base64.b64encode(hmac.digest(_secret(key), content, hashlib.sha256)).decode("ascii")


def _secret(key: str) -> bytes:
    return base64.b64decode(key.removeprefix(_PREFIX))
