"""Function keys: who may call what, as the Functions host decides it.

`frontend.py` asks here before anything else happens to a request. One key, `LOCAL_HOST_KEY`, stands for the function
key, the master key and the system key of Event Grid: there is one developer on this machine.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl


def presented_key(headers: list[tuple[bytes, bytes]], query: bytes) -> str:
    """The key a request carries: `x-functions-key`, else `?code=` (KeyAuthenticationHandler in the Functions host)."""
    for name, value in headers:
        if name == b"x-functions-key":
            return value.decode("latin-1")
    if b"code=" not in query.lower():
        return ""
    return next((value for name, value in parse_qsl(query.decode("latin-1")) if name.lower() == "code"), "")


def is_allowed(level: str, presented: str, key: str) -> bool:
    """Whether a call to a route of `level` (anonymous, function or admin) is let in. Compares in constant time."""
    return level.lower() == "anonymous" or hmac.compare_digest(presented.encode(), key.encode())
