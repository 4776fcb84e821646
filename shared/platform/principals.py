"""Who calls: a holder of a function key, or the principal App Service authentication vouches for (design section 8)."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import DarkroomError

KEY_OWNER = "key"
ADMIN_ROLE = "Darkroom.Admin"

_ROLE_CLAIMS = ("roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role")


@dataclass(frozen=True, slots=True)
class Caller:
    """`owner` is what a job of this caller carries; `sees_all` lets it read and touch the jobs of others."""

    owner: str
    sees_all: bool

    def may_see(self, owner: str) -> bool:
        return self.sees_all or owner == self.owner


def keys_guard() -> bool:
    """Whether the platform checks function keys before the app is asked. The one setting read at import."""
    return os.environ.get("HTTP_AUTH_LEVEL", "function").strip().lower() != "anonymous"


def identify(headers: Mapping[str, str], *, guarded_by_keys: bool, platform_auth: bool) -> Caller:
    """The caller behind `headers` (lower-case names).

    Principal headers are believed only where the platform authenticates (`WEBSITE_AUTH_ENABLED`), since anyone can
    send them elsewhere. Raises `unauthorized` where neither a key nor a principal stands for the caller.
    """
    if guarded_by_keys:
        return Caller(KEY_OWNER, sees_all=True)
    principal = headers.get("x-ms-client-principal-id", "") if platform_auth else ""
    if not principal:
        raise DarkroomError("unauthorized", "Sign in first: this app answers authenticated callers only.")
    return Caller(principal, sees_all=ADMIN_ROLE in _roles(headers.get("x-ms-client-principal", "")))


def _roles(encoded: str) -> set[str]:
    try:
        principal: Any = json.loads(base64.b64decode(encoded, validate=True))
        claims = principal["claims"]
        return {
            claim["val"]
            for claim in claims
            if claim["typ"] in _ROLE_CLAIMS or claim["typ"] == principal.get("role_typ")
        }
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        return set()
