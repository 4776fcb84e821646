"""The managed-identity endpoint of App Service and Functions, on this machine.

`azure-identity` comes in by `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` and leaves with a token, by the protocol of API
version 2019-08-01 (https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference).
Plain HTTP, as the platform has it. The tokens are real JWTs in form, with every claim Azurite, the local model server
and the local topic look at, signed by a key nobody checks: they prove who asked for what, never who may. Only for
audiences named by `--real-audience` (a real model endpoint used with the local stack) it hands on the token of whoever
is signed in on this machine: environment, Azure CLI, Azure Developer CLI or Azure PowerShell.

Tests read `GET /_local/requests` (which resources were asked for, oldest first) and clear the list with `DELETE`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

API_VERSION = "2019-08-01"
TOKEN_PATH = "/msi/token"  # noqa: S105 - the platform's path
TENANT_ID = "11111111-1111-1111-1111-111111111111"
SYSTEM_ASSIGNED = "system"
LIFETIME_SECONDS = 24 * 60 * 60
_SELECTORS = ("client_id", "principal_id", "object_id", "mi_res_id")
_KEPT_REQUESTS = 10_000

type Flaw = Literal["missing", "unreadable", "audience", "expired"]
"""What is wrong with a bearer token."""


def make_token(resource: str, client_id: str = SYSTEM_ASSIGNED, lifetime: int = LIFETIME_SECONDS) -> str:
    """Return a JWT for `resource` (an audience such as `https://storage.azure.com`), valid for `lifetime` seconds.

    Azurite asks for aud, iss (a v1 issuer), iat, nbf and exp, and for oid and tid before it gives a delegation key.
    """
    now = int(time.time())
    object_id = str(uuid.uuid5(uuid.NAMESPACE_OID, client_id))
    claims = {
        "aud": resource,
        "iss": f"https://sts.windows.net/{TENANT_ID}/",
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + lifetime,
        "oid": object_id,
        "sub": object_id,
        "tid": TENANT_ID,
        "appid": client_id,
        "ver": "1.0",
    }
    header = {"alg": "HS256", "typ": "JWT"}
    unsigned = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{unsigned}.{base64url(hmac.new(b'local', unsigned.encode(), hashlib.sha256).digest())}"


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without checking its signature. Raises ValueError when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("not a JWT: it has no three parts")
    payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    if not isinstance(payload, dict):
        raise ValueError("not a JWT: its payload is no object")
    return payload


def judge_bearer(authorization: str, audience: str) -> tuple[str | None, Flaw | None]:
    """Return the audience that the token of an `Authorization` header names, and what speaks against it."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None, "missing"
    try:
        claims = read_claims(token.strip())
        expires = float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None, "unreadable"
    named = claims.get("aud")
    if str(named).rstrip("/") != audience:
        return named, "audience"
    return named, "expired" if expires < time.time() else None


def base64url(data: bytes) -> str:
    """Encode without padding, as JSON Web Signatures have it (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class IdentityServer(ThreadingHTTPServer):
    """The endpoint, listening on loopback; `port` 0 takes a free one. Every token request must carry `header`."""

    daemon_threads = True

    def __init__(self, port: int, header: str, real: Mapping[str, TokenCredential] | None = None) -> None:
        """`real` has the credential to ask for each audience whose tokens must be real ones."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.header = header
        self.real = real or {}
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The value of `IDENTITY_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_address[1]}{TOKEN_PATH}"

    def record(self, entry: dict[str, Any]) -> None:
        """Remember one token request; the oldest are dropped beyond ten thousand."""
        with self.lock:
            self.requests.append(entry)
            del self.requests[:-_KEPT_REQUESTS]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: IdentityServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == TOKEN_PATH:
            self._answer_token_request(query)
        elif url.path == "/_local/requests":
            with self.server.lock:
                self._send(200, {"requests": list(self.server.requests)})
        else:
            self._refuse(404, "no such path")

    def do_DELETE(self) -> None:
        if urlsplit(self.path).path != "/_local/requests":
            self._refuse(404, "no such path")
            return
        with self.server.lock:
            self.server.requests.clear()
        self._send(200, {"requests": []})

    def _answer_token_request(self, query: dict[str, str]) -> None:
        resource = query.get("resource", "")
        selector = next((name for name in _SELECTORS if query.get(name)), None)
        client_id = query[selector] if selector else SYSTEM_ASSIGNED
        entry = {"time": time.time(), "resource": resource, "client_id": client_id}
        presented = self.headers.get("X-IDENTITY-HEADER") or ""
        if not secrets.compare_digest(presented.encode(), self.server.header.encode()):
            self._refuse(401, "X-IDENTITY-HEADER is missing or wrong", entry)
        elif query.get("api-version") != API_VERSION:
            self._refuse(400, f"api-version must be {API_VERSION}", entry)
        elif not resource:
            self._refuse(400, "resource is required", entry)
        elif resource.endswith("/.default"):
            self._refuse(400, "resource must be a resource, not a scope: leave out /.default", entry)
        else:
            try:
                token, expires_on = self._token(resource, client_id)
            except Exception as error:  # noqa: BLE001 - each credential of the chain fails in ways of its own
                self._refuse(400, f"nobody is signed in on this machine: run az login ({type(error).__name__})", entry)
                return
            self.server.record({**entry, "status": 200})
            body = {
                "access_token": token,
                "expires_on": str(expires_on),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client_id,
            }
            self._send(200, body)

    def _token(self, resource: str, client_id: str) -> tuple[str, int]:
        credential = self.server.real.get(resource.rstrip("/"))
        if credential is None:
            return make_token(resource, client_id), int(time.time()) + LIFETIME_SECONDS
        token = credential.get_token(f"{resource.rstrip('/')}/.default")
        return token.token, token.expires_on

    def _refuse(self, status: int, message: str, entry: dict[str, Any] | None = None) -> None:
        if entry is not None:
            self.server.record({**entry, "status": status})
        self._send(status, {"statusCode": status, "message": message})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Log nothing: the list of requests is the record."""


def signed_in_credential() -> TokenCredential:
    """Return the credential of whoever is signed in on this machine. Imports azure-identity, which takes a while."""
    from azure import identity

    return identity.ChainedTokenCredential(
        identity.EnvironmentCredential(),
        identity.AzureCliCredential(),
        identity.AzureDeveloperCliCredential(),
        identity.AzurePowerShellCredential(),
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; print `ready <IDENTITY_ENDPOINT>` once listening."""
    parser = argparse.ArgumentParser(prog="python -m local.identity", description="Local managed-identity endpoint.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--header", default=os.environ.get("IDENTITY_HEADER"), help="default: IDENTITY_HEADER")
    parser.add_argument("--real-audience", action="append", default=[], help="hand on the signed-in user's tokens")
    options = parser.parse_args(arguments)
    if not options.header:
        parser.error("give --header, or IDENTITY_HEADER in the environment: callers must present it")
    real = dict.fromkeys(options.real_audience, signed_in_credential()) if options.real_audience else {}
    server = IdentityServer(options.port, options.header, real)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"ready {server.url}", flush=True)
    try:
        server.serve_forever()
    except (KeyboardInterrupt, SystemExit):
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
