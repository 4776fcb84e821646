"""Certificates that sign images: a P-256 certificate authority and a leaf for each extended key usage.

Made at the first start into the state directory and kept, so that pictures of yesterday still verify. The model server
comes in for its own, the local key vault for Darkroom's. The subjects name no vendor. Recipe: C2PA 2.x certificate
profile (digitalSignature, one EKU, SKI and AKI, organisation and name).
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.certificates import key_usage

CA_FILE = "c2pa-ca.pem"
_CA_KEY_FILE = "c2pa-ca-key.pem"
_DAYS = 3650
_OWNER = "Local Image Server"


@dataclass(frozen=True)
class SigningCertificate:
    """A leaf with its chain and private key, all PEM."""

    chain: str
    private_key: bytes
    authority: str


def signing_certificate(state_dir: Path, name: str, usage: str, owner: str = _OWNER) -> SigningCertificate:
    """The leaf for an extended key usage (dotted `usage`, file `name`), made for `owner` when it is not there yet."""
    state_dir.mkdir(parents=True, exist_ok=True)
    authority, authority_key = _authority(state_dir, owner)
    leaf_file, key_file = state_dir / f"c2pa-{name}.pem", state_dir / f"c2pa-{name}-key.pem"
    if not (leaf_file.exists() and key_file.exists()):
        _make_leaf(leaf_file, key_file, authority, authority_key, usage, owner)
    authority_pem = authority.public_bytes(serialization.Encoding.PEM).decode()
    return SigningCertificate(leaf_file.read_text() + authority_pem, key_file.read_bytes(), authority_pem)


def _authority(state_dir: Path, owner: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_file, key_file = state_dir / CA_FILE, state_dir / _CA_KEY_FILE
    if certificate_file.exists() and key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(certificate_file.read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(owner, "Test CA")
    builder = _builder(subject, subject, key.public_key(), key.public_key())
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_secret(key_file, _private_pem(key))
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _make_leaf(
    leaf_file: Path,
    key_file: Path,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    usage: str,
    owner: str,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(owner, "Test Signer")
    builder = _builder(subject, authority.subject, key.public_key(), authority_key.public_key())
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write_secret(key_file, _private_pem(key))
    leaf_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, issuer_public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False)
    )


def _name(owner: str, what: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{owner} (test)"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{owner} {what}"),
        ]
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
