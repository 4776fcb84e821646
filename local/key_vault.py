"""A Key Vault on this machine: one certificate, and a key that never leaves it.

The app comes in by the vault's REST interface (version 7.4), over https and with a bearer token for Key Vault:

- `GET /certificates/{name}[/{version}]` the certificate without its issuers, and the identifier of its key
- `GET /keys/{name}[/{version}]` the public key
- `POST /keys/{name}[/{version}]/sign` the signature of a digest: ES256, ES384, ES512 (r and s one after the other) or
  PS256, whichever goes with the key

A request without a token is answered by the vault's challenge, 401 with `WWW-Authenticate: Bearer authorization=...`.
What was asked is kept for tests, and faults are asked for here:

- `GET|DELETE /_local/requests` every request: its path, status and token's audience
- `GET|PUT|DELETE /_local/behaviour` `{"faults": [{"count": 2, "status": 503, "delay_seconds": 0}]}`: each fault answers
  the next `count` requests (without `status`: late, but well)

Facts from https://learn.microsoft.com/rest/api/keyvault/ (certificates, keys) and
https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.environment import VAULT_CERTIFICATE
from local.faults import Fault, next_fault, read_faults
from local.identity import TENANT_ID, Flaw, base64url, judge_bearer
from local.model.certificates import CA_FILE, signing_certificate
from local.serving import https_parser, read_json, serve

AUDIENCE = "https://vault.azure.net"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
"""The extended key usage of the certificate: the one that readers of C2PA take without being told."""
_API_VERSIONS = {"7.4", "7.5", "7.6", "2025-07-01"}
_KEPT = 10_000
_FAULT_MEMBERS = {"count", "status", "delay_seconds"}
_FLAWS: dict[Flaw, str] = {
    "missing": "AKV10000: Request is missing a Bearer or PoP token.",
    "unreadable": "AKV10001: The bearer token could not be read.",
    "audience": "AKV10022: Invalid audience.",
    "expired": "AKV10003: The token has expired.",
}
_CURVES: dict[str, tuple[str, str, hashes.HashAlgorithm]] = {
    "secp256r1": ("P-256", "ES256", hashes.SHA256()),
    "secp384r1": ("P-384", "ES384", hashes.SHA384()),
    "secp521r1": ("P-521", "ES512", hashes.SHA512()),
}
_CODES = {403: "Forbidden", 404: "CertificateNotFound", 429: "Throttled"}


type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyVault:
    """The vault's state and its routes; `app` is the ASGI application."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.requests: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self._key = key
        self._certificate = certificate
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._cer = base64.b64encode(der).decode()
        self._thumbprint = base64url(hashlib.sha1(der, usedforsecurity=False).digest())
        self._version = hashlib.sha256(der).hexdigest()[:32]
        self.app = Starlette(
            routes=[
                Route("/certificates/{name}", self.show_certificate),
                Route("/certificates/{name}/{version}", self.show_certificate),
                Route("/keys/{name}", self.show_key),
                Route("/keys/{name}/sign", self.sign, methods=["POST"]),
                Route("/keys/{name}/{version}", self.show_key),
                Route("/keys/{name}/{version}/sign", self.sign, methods=["POST"]),
                Route("/_local/requests", self.show_requests, methods=["GET", "DELETE"]),
                Route("/_local/behaviour", self.behaviour, methods=["GET", "PUT", "DELETE"]),
            ]
        )

    async def show_certificate(self, request: Request) -> Response:
        """Get Certificate."""
        return await self._answer(request, self._describe_certificate)

    async def show_key(self, request: Request) -> Response:
        """Get Key."""
        return await self._answer(request, self._describe_key)

    async def sign(self, request: Request) -> Response:
        """Sign."""
        body = await read_json(request)
        return await self._answer(request, lambda request: self._sign(request, body))

    async def _answer(self, request: Request, answer: Any) -> Response:
        record: dict[str, Any] = {"time": time.time(), "path": request.url.path, "audience": None}
        self.requests.append(record)
        del self.requests[:-_KEPT]
        fault = next_fault(self.faults)
        await asyncio.sleep(fault.get("delay_seconds", 0))
        response = self._refused(request, record)
        if response is None and "status" in fault:
            response = _refusal(fault["status"], "A fault was asked for.")
        if response is None:
            response = answer(request)
        record["status"] = response.status_code
        return response

    def _refused(self, request: Request, record: dict[str, Any]) -> Response | None:
        record["audience"], flaw = judge_bearer(request.headers.get("authorization", ""), AUDIENCE)
        if flaw:
            challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT_ID}", resource="{AUDIENCE}"'
            return _refusal(401, _FLAWS[flaw], "Unauthorized", {"WWW-Authenticate": challenge})
        if request.query_params.get("api-version") not in _API_VERSIONS:
            return _refusal(400, "The specified version is not recognized.", "BadParameter")
        name, version = request.path_params["name"], request.path_params.get("version")
        if name != VAULT_CERTIFICATE or version not in (None, self._version):
            return _refusal(404, f"{name} was not found in this key vault.")
        return None

    def _describe_certificate(self, request: Request) -> Response:
        attributes = {
            "enabled": True,
            "nbf": int(self._certificate.not_valid_before_utc.timestamp()),
            "exp": int(self._certificate.not_valid_after_utc.timestamp()),
        }
        return JSONResponse(
            {
                "id": self._identifier(request, "certificates"),
                "kid": self._identifier(request, "keys"),
                "sid": self._identifier(request, "secrets"),
                "x5t": self._thumbprint,
                "cer": self._cer,
                "attributes": attributes,
            }
        )

    def _describe_key(self, request: Request) -> Response:
        key = {
            "kid": self._identifier(request, "keys"),
            "key_ops": ["sign", "verify"],
            **_public(self._key.public_key()),
        }
        return JSONResponse({"key": key, "attributes": {"enabled": True}, "managed": True})

    def _sign(self, request: Request, body: Any) -> Response:
        algorithm, value = (body.get("alg"), body.get("value")) if isinstance(body, dict) else (None, None)
        known, method = _algorithm(self._key)
        if algorithm != known:
            return _refusal(400, f"Key and signing algorithm are incompatible: {algorithm}.", "BadParameter")
        digest = _decode(value)
        if digest is None or len(digest) != method.digest_size:
            return _refusal(400, "Property value has invalid value or length", "BadParameter")
        signature = _signature(self._key, method, digest)
        return JSONResponse({"kid": self._identifier(request, "keys"), "value": base64url(signature)})

    def _identifier(self, request: Request, kind: str) -> str:
        return f"https://{request.url.netloc}/{kind}/{VAULT_CERTIFICATE}/{self._version}"

    async def show_requests(self, request: Request) -> Response:
        """Every request, refused ones too."""
        if request.method == "DELETE":
            self.requests.clear()
        return JSONResponse({"requests": self.requests})

    async def behaviour(self, request: Request) -> Response:
        """Read, replace or reset the faults to come."""
        if request.method == "DELETE":
            self.faults = []
        elif request.method == "PUT":
            try:
                self.faults = read_faults(await read_json(request), members=_FAULT_MEMBERS)
            except ValueError as error:
                return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"faults": self.faults})


def _algorithm(key: Key) -> tuple[str, hashes.HashAlgorithm]:
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256", hashes.SHA256()
    return _CURVES[key.curve.name][1:]


def _public(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> dict[str, str]:
    """The members of a JSON Web Key (RFC 7518, section 6)."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        n, e = base64url(numbers.n.to_bytes(key.key_size // 8)), base64url(numbers.e.to_bytes(3))
        return {"kty": "RSA", "n": n, "e": e}
    point, length = key.public_numbers(), (key.key_size + 7) // 8
    x, y = base64url(point.x.to_bytes(length)), base64url(point.y.to_bytes(length))
    return {"kty": "EC", "crv": _CURVES[key.curve.name][0], "x": x, "y": y}


def _signature(key: Key, method: hashes.HashAlgorithm, digest: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PSS(padding.MGF1(method), method.digest_size), utils.Prehashed(method))
    r, s = utils.decode_dss_signature(key.sign(digest, ec.ECDSA(utils.Prehashed(method))))
    length = (key.key_size + 7) // 8
    return r.to_bytes(length) + s.to_bytes(length)


def _refusal(status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> Response:
    body = {"error": {"code": code or _CODES.get(status, "InternalError"), "message": message}}
    return JSONResponse(body, status_code=status, headers={"x-ms-request-id": str(uuid.uuid4()), **(headers or {})})


def _decode(value: Any) -> bytes | None:
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (TypeError, ValueError):
        return None


def open_vault(state_dir: Path) -> KeyVault:
    """The vault whose certificate, key and authority (`c2pa-ca.pem`) are kept in `state_dir`, made when missing."""
    found = signing_certificate(state_dir, VAULT_CERTIFICATE, EMAIL_PROTECTION, owner="Darkroom local stack")
    key = serialization.load_pem_private_key(found.private_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return KeyVault(x509.load_pem_x509_certificate(found.chain.encode()), key)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; print `ready https://127.0.0.1:<port>` once listening."""
    parser = https_parser("python -m local.key_vault", "Local Key Vault.")
    parser.add_argument("--state-dir", type=Path, required=True, help=f"keeps the signing certificate and {CA_FILE}")
    options = parser.parse_args(arguments)
    serve(open_vault(options.state_dir).app, options.port, options.cert, options.key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
