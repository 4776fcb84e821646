"""The local stack's certificates: who vouches for https on this machine.

Every server of the stack but the app itself speaks TLS, because the SDKs send tokens over nothing else. This room makes
one certificate authority for one stack folder and one server certificate for `localhost` and `127.0.0.1`, renews both
before they end, and writes the bundle that children trust. It is entered by `stack.py` and by the tests' fixtures.
The authority's key stays in the folder (mode 0600) and its certificate is limited by name constraints to this machine.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 825
SERVER_DAYS = 90
RENEW_BEFORE = datetime.timedelta(days=14)

_LOOPBACK = ipaddress.ip_address("127.0.0.1")
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: `ca` to trust, `bundle` (that CA and the public ones), the servers' `cert` and `key`."""

    ca: Path
    bundle: Path
    cert: Path
    key: Path


def ensure_certificates(
    directory: Path, environ: Mapping[str, str] = os.environ, now: datetime.datetime | None = None
) -> Certificates:
    """Return the certificates in `directory`, making or renewing what is missing, unreadable or near its end.

    The bundle is written anew each time: it also holds the roots that `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE` of
    `environ` name, so that what was reachable through a company's proxy stays so.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    directory.mkdir(parents=True, exist_ok=True)
    paths = Certificates(
        directory / "ca.pem", directory / "ca-bundle.pem", directory / "server.pem", directory / "server-key.pem"
    )
    ca_key_path = directory / "ca-key.pem"
    ca_key, ca = _load(ca_key_path, paths.ca)
    if ca_key is None or ca is None or _ends_soon(ca, now):
        ca_key, ca = _make_authority(now)
        _write_key(ca_key_path, ca_key)
        _write(paths.ca, ca.public_bytes(serialization.Encoding.PEM))
    server_key, server = _load(paths.key, paths.cert)
    if server_key is None or server is None or _ends_soon(server, now) or not _issued_by(server, ca):
        server_key, server = _make_server(ca_key, ca, now)
        _write_key(paths.key, server_key)
        _write(paths.cert, server.public_bytes(serialization.Encoding.PEM))
    _write(paths.bundle, _bundle(paths, environ))
    return paths


def trust_environment(certificates: Certificates) -> dict[str, str]:
    """Return the variables that make a child process trust the stack.

    Both are needed: `ssl` and aiohttp read the first, requests (the sync Azure clients) the second.
    """
    return {"SSL_CERT_FILE": str(certificates.bundle), "REQUESTS_CA_BUNDLE": str(certificates.bundle)}


def _make_authority(now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Darkroom local stack CA")])
    constraints = x509.NameConstraints(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))], None
    )
    certificate = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _make_server(
    ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, now: datetime.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(_LOOPBACK)])
    ca_identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(name, ca.subject, key, now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a clock that was just set back still accepts it
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a certificate's key may do: sign certificates, or anything else.

    Python 3.13 verifies strictly (VERIFY_X509_STRICT): an authority without this extension is refused.
    """
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load(key_path: Path, path: Path) -> tuple[ec.EllipticCurvePrivateKey | None, x509.Certificate | None]:
    """Return the key and certificate of two files, or nothing when either is missing, damaged or not of the other."""
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return None, None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None, None
    return key, certificate


def _ends_soon(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    return certificate.not_valid_after_utc - now < RENEW_BEFORE


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - a wrong name, a wrong key type and a wrong signature all raise differently
        return False
    return True


def _bundle(paths: Certificates, environ: Mapping[str, str]) -> bytes:
    parts = [paths.ca.read_bytes(), Path(certifi.where()).read_bytes()]
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        extra = Path(environ.get(name) or paths.bundle)
        if (
            extra.is_file()
            and not extra.samefile(paths.ca)
            and not (paths.bundle.exists() and extra.samefile(paths.bundle))
        ):
            parts.append(extra.read_bytes())
    seen: dict[bytes, None] = {}
    for part in parts:
        for block in part.split(_BEGIN)[1:]:
            body, _, _ = block.partition(b"-----END CERTIFICATE-----")
            seen.setdefault(b"".join(body.split()), None)
    return b"".join(_armour(body) for body in seen)


def _armour(body: bytes) -> bytes:
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return b"\n".join([_BEGIN, *lines, b"-----END CERTIFICATE-----", b""])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, pem, mode=0o600)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` in one step, so that a child that reads it meanwhile sees the old or the new, never half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)
