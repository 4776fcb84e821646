"""A certificate in Azure Key Vault whose key never leaves it; the signing of derived images comes in here.

Two calls of the vault's REST interface over the app's own HTTP client, with a managed identity's token:

1. `certificate`: Get Certificate (https://learn.microsoft.com/rest/api/keyvault/certificates/get-certificate)
2. `sign`: the digest goes to the vault, the signature comes back (https://learn.microsoft.com/rest/api/keyvault/keys/sign)

The token is for the vaults of the cloud that the host's name is of, never for what an answer names: the vault's
challenge of requests without a token is not followed, since nothing is sent without one.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.errors import DarkroomError
from shared.platform import clients

if TYPE_CHECKING:
    import httpx

API_VERSION: Final = "7.4"
CALL_SECONDS: Final = 12.0
"""The longest that one call takes, with its repetitions and the token."""

_CLOUDS: Final = ("vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net")
"""https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#vault-name-and-object-name"""
_IDENTIFIER = re.compile(r"/certificates/[0-9a-zA-Z-]{1,127}(?:/[0-9a-f]{32})?")
_KEY = re.compile(r"/keys/[0-9a-zA-Z-]{1,127}/[0-9a-f]{32}")
_TRIES: Final = 3
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 2.0
_TRY_SECONDS: Final = 5.0
_PASSES: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class VaultCertificate:
    """`der` is the leaf alone, as the vault gives it; `key` the URL of the version of the key that belongs to it."""

    der: bytes
    key: str
    enabled: bool


def identifier_problem(identifier: str, *, any_host: bool = False) -> str | None:
    """Why `identifier` is no certificate's in a vault, to follow its name in a sentence; None when it is one.

    `any_host` is for the local stack, whose vault has no name of the cloud's.
    """
    parts = urlsplit(identifier)
    if (
        parts.scheme != "https"
        or parts.username
        or parts.query
        or parts.fragment
        or not _IDENTIFIER.fullmatch(parts.path)
    ):
        return "is no certificate identifier: https://<vault>.vault.azure.net/certificates/<name>, a version may follow"
    if not any_host and (_cloud(parts.hostname) is None or parts.port is not None):
        return f"names a host that is no key vault's: those end in {', '.join(_CLOUDS)}"
    return None


async def certificate(identifier: str) -> VaultCertificate:
    """The certificate `identifier` names, the newest where it names no version.

    Raises `signing_unavailable` when the vault does not answer, `misconfigured` when it refuses.
    """
    answer = await _call(identifier, "GET", identifier)
    try:
        der = base64.b64decode(answer["cer"], validate=True)
        key, enabled = str(answer["kid"]), bool(answer["attributes"]["enabled"])
    except (KeyError, TypeError, ValueError):
        raise _broken() from None
    # The key's URL is sent a token: it must be the same vault's.
    if urlsplit(key)[:2] != urlsplit(identifier)[:2] or not _KEY.fullmatch(urlsplit(key).path):
        raise _broken()
    return VaultCertificate(der, key, enabled)


async def sign(key: str, algorithm: str, digest: bytes) -> bytes:
    """The signature of `digest` by the vault's `key`; for ES256, ES384 and ES512 r and s, one after the other.

    Raises as `certificate` does.
    """
    body = {"alg": algorithm, "value": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}
    answer = await _call(key, "POST", f"{key}/sign", body)
    try:
        value = str(answer["value"])
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (KeyError, TypeError, ValueError):
        raise _broken() from None


async def _call(subject: str, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A call and, while its failure may pass, its repetitions: both calls change nothing. `subject` is for messages."""
    import httpx

    reason = "it did not answer in time"
    try:
        async with asyncio.timeout(CALL_SECONDS):
            wait = _FIRST_WAIT
            for left in reversed(range(_TRIES)):
                try:
                    response = await clients.vault_http().request(
                        method,
                        url,
                        params={"api-version": API_VERSION},
                        json=body,
                        headers={"authorization": await _bearer(subject)},
                        timeout=_TRY_SECONDS,
                    )
                except httpx.HTTPError as error:
                    reason = f"it could not be reached ({type(error).__name__})"
                else:
                    if response.status_code == 200:
                        return _json(response)
                    if response.status_code not in _PASSES:
                        raise _refused(subject, response)
                    reason = f"it answered {response.status_code}"
                    wait = max(wait, _told(response))
                if left:
                    await asyncio.sleep(min(wait, _LONGEST_WAIT))
                    wait *= 2
    except TimeoutError:
        pass
    raise DarkroomError("signing_unavailable", f"The key vault that signs derived images is not available: {reason}.")


async def _bearer(url: str) -> str:
    from azure.core.exceptions import AzureError

    cloud = _cloud(urlsplit(url).hostname) or _CLOUDS[0]
    scope = f"https://{cloud}/.default"
    try:
        return await clients.app_bearer(scope)()
    except AzureError as error:
        raise DarkroomError(
            "signing_unavailable", f"No token for the key vault: the identity endpoint failed ({type(error).__name__})."
        ) from error


def _cloud(host: str | None) -> str | None:
    return next((cloud for cloud in _CLOUDS if re.fullmatch(rf"[0-9a-z-]+\.{re.escape(cloud)}", host or "")), None)


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        raise _broken() from None
    if not isinstance(answer, dict):
        raise _broken()
    return answer


def _told(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def _refused(subject: str, response: httpx.Response) -> DarkroomError:
    """The vault's own code and never its message, which names callers and addresses."""
    try:
        error = response.json()["error"]
        code = str((error.get("innererror") or error)["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        code = ""
    code = code if re.fullmatch(r"\w{1,40}", code) else "no code"
    what = "certificate" if _IDENTIFIER.fullmatch(urlsplit(subject).path) else "key"
    if response.status_code == 404:
        why = f"there is no such {what}"
    elif response.status_code in (401, 403):
        why = "the app's identity needs the roles Key Vault Reader and Key Vault Crypto User, and a network way"
    else:
        why = f"the vault refused its {what}"
    return DarkroomError("misconfigured", f"SIGNING_CERTIFICATE: {why} ({response.status_code}, {code}).")


def _broken() -> DarkroomError:
    return DarkroomError("misconfigured", "SIGNING_CERTIFICATE: what answers there is no key vault with a certificate.")
