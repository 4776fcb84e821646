"""Who calls: `api-key`, or `Authorization: Bearer` with a token or, on v1, a key.

Tokens come from the local managed-identity endpoint, whose signatures prove nothing; so the claims alone are looked at:
audience, not before, expiry. An API key is any text unless the server was started with a list of the good ones.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import jwt
from starlette.datastructures import Headers

from local.model.errors import ErrorContext, ServiceError, invalid_token, unauthorized

AUDIENCES = ("https://cognitiveservices.azure.com", "https://ai.azure.com")
"""Dated documentation names the first, documentation from late 2025 the second."""
_SHOWN_CLAIMS = ("aud", "iss", "oid", "appid", "tid", "exp")


@dataclass(frozen=True)
class Caller:
    """The credential of a call: its kind, and for a token what it says."""

    kind: str
    audience: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)


def read_credential(headers: Headers) -> Caller | None:
    """The credential as it was sent, not judged; None when there is none."""
    if headers.get("api-key"):
        return Caller("api-key")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        return None
    claims = _claims(value.strip())
    audience = claims.get("aud")
    return Caller(
        "bearer",
        str(audience) if audience is not None else None,
        {name: claims[name] for name in _SHOWN_CLAIMS if name in claims},
    )


def refusal(
    headers: Headers, caller: Caller | None, *, surface: str, keys: Collection[str], context: ErrorContext
) -> ServiceError | None:
    """The 401 this credential earns, or None. `surface` is `dated` or `v1`; empty `keys` takes any key."""
    if caller is None:
        return invalid_token(context)
    if caller.kind == "api-key":
        return _key_refusal(headers["api-key"], keys, context)
    value = headers["authorization"].partition(" ")[2].strip()
    if not caller.claims:
        if surface == "v1" and value.count(".") != 2:
            return _key_refusal(value, keys, context)
        return invalid_token(context)
    now = time.time()
    claims = caller.claims
    good = (
        (caller.audience or "").rstrip("/") in AUDIENCES
        and isinstance(claims.get("exp"), int | float)
        and claims["exp"] > now
    )
    return None if good else invalid_token(context)


def _key_refusal(key: str, keys: Collection[str], context: ErrorContext) -> ServiceError | None:
    return None if not keys or key in keys else unauthorized(context)


def _claims(token: str) -> dict[str, Any]:
    """The payload of a JWT, unverified; empty for anything else."""
    try:
        return jwt.decode(token, options={"verify_signature": False, "verify_exp": False, "verify_aud": False})
    except jwt.PyJWTError:
        return {}
