"""Who signs derived images: the certificate that `SIGNING_CERTIFICATE` names in a key vault, and the key behind it.

`signing` comes in by `current`, the health page by `problem` and `prove`. The certificate is read again every hour, so
that a renewed one is found without a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from shared.delivery.provenance import EXTENDED_KEY_USAGES
from shared.errors import DarkroomError
from shared.platform import clients, key_vault, pem
from shared.settings import settings

if TYPE_CHECKING:
    from cryptography import x509

WARN_DAYS: Final = 30
_KEPT_SECONDS: Final = 3600.0
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html#_digital_signatures
_BY_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_PROOF: Final = b"darkroom: may this key be used?"


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """`chain` is PEM, the signer's own certificate first; `algorithm` what C2PA and the vault both call it."""

    chain: str
    algorithm: str
    key: str
    not_after: datetime

    async def sign(self, data: bytes) -> bytes:
        """The signature of `data`, made in the vault. Raises as `key_vault.sign` does."""
        digest = hashlib.new(f"sha{self.algorithm[2:]}", data).digest()
        return await key_vault.sign(self.key, self.algorithm, digest)


@dataclass(slots=True)
class _Kept:
    identity: SigningIdentity | None = None
    until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def current() -> SigningIdentity:
    """The identity as it is now. Raises `signing_unavailable` when the vault does not answer, and `misconfigured`, with
    a sentence that names the setting and the fix, when nothing can be signed with what the setting names."""
    kept = clients.keep("signing identity", _Kept)
    async with kept.lock:
        if kept.identity is None or time.monotonic() >= kept.until or _over(kept.identity):
            kept.identity = await _read()
            kept.until = time.monotonic() + _KEPT_SECONDS
        return kept.identity


def problem() -> str | None:
    """What is wrong with the settings, as far as it can be told without the vault: a sentence, or None."""
    identifier, chain = settings().signing_certificate, settings().signing_certificate_chain
    if identifier is None:
        return "SIGNING_CERTIFICATE_CHAIN is set without SIGNING_CERTIFICATE; nothing is signed." if chain else None
    if wrong := key_vault.identifier_problem(identifier, any_host=settings().allow_private_networks):
        return f"SIGNING_CERTIFICATE {wrong}."
    if chain and not _listed(chain):
        return "SIGNING_CERTIFICATE_CHAIN is neither PEM certificates nor the path of a file of them."
    return None


def ends_soon(identity: SigningIdentity) -> str | None:
    """A warning for the health page when the certificate ends within `WARN_DAYS`."""
    days = days_left(identity)
    if days >= WARN_DAYS:
        return None
    return f"SIGNING_CERTIFICATE: the certificate ends in {days} days, on {ends_on(identity)}; renew it in the vault."


def ends_on(identity: SigningIdentity) -> date:
    return identity.not_after.date()


def days_left(identity: SigningIdentity) -> int:
    return (identity.not_after - datetime.now(UTC)).days


async def prove() -> SigningIdentity:
    """The identity, once its key has signed something and the certificate agreed. Raises as `current` does."""
    identity = await current()
    signature = await identity.sign(_PROOF)
    if not await asyncio.to_thread(_verifies, identity, signature):
        raise _wrong("the vault's key is not the one the certificate is for")
    return identity


async def _read() -> SigningIdentity:
    identifier = settings().signing_certificate
    if identifier is None:
        raise _wrong("it is not set")
    if wrong := problem():
        raise DarkroomError("misconfigured", wrong)
    found = await key_vault.certificate(identifier)
    if not found.enabled:
        raise _wrong("the certificate is disabled in the vault")
    return await asyncio.to_thread(_identity, found)


def _identity(found: key_vault.VaultCertificate) -> SigningIdentity:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        leaf = x509.load_der_x509_certificate(found.der)
        issuers = [x509.load_pem_x509_certificate(one) for one in _listed(settings().signing_certificate_chain)]
    except ValueError:
        raise _wrong("the certificate, or one of SIGNING_CERTIFICATE_CHAIN, cannot be read") from None
    identity = SigningIdentity(
        chain="".join(one.public_bytes(Encoding.PEM).decode() for one in (leaf, *issuers)),
        algorithm=_algorithm(leaf),
        key=found.key,
        not_after=leaf.not_valid_after_utc,
    )
    if _over(identity):
        raise _wrong(f"the certificate ended on {ends_on(identity)}; renew it in the vault")
    if leaf.not_valid_before_utc > datetime.now(UTC):
        raise _wrong(f"the certificate begins on {leaf.not_valid_before_utc.date()}")
    if lacking := _lacking(leaf):
        raise _wrong(f"the certificate has no {lacking}, without which C2PA takes no signature")
    for subject, issuer in zip((leaf, *issuers), issuers, strict=False):
        if not _issued_by(subject, issuer):
            raise _wrong("SIGNING_CERTIFICATE_CHAIN is not its chain: each certificate must have issued the one before")
    return identity


def _algorithm(leaf: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _BY_CURVE:
        return _BY_CURVE[key.curve.name]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return "PS256"
    raise _wrong("its key is of no kind that C2PA signs with: EC P-256, P-384, P-521, or RSA of 2048 bits and more")


def _lacking(leaf: x509.Certificate) -> str | None:
    """What a signer's certificate needs by C2PA's profile, as far as vaults and authorities let it be chosen."""
    from cryptography import x509

    def extension[E: x509.ExtensionType](kind: type[E]) -> E | None:
        try:
            return leaf.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    usage, extended = extension(x509.KeyUsage), extension(x509.ExtendedKeyUsage)
    if usage is None or not usage.digital_signature:
        return "key usage digitalSignature"
    if extended is None or not {one.dotted_string for one in extended} & set(EXTENDED_KEY_USAGES):
        return f"extended key usage of C2PA's ({', '.join(EXTENDED_KEY_USAGES)})"
    return None if extension(x509.AuthorityKeyIdentifier) else "authority key identifier"


def _issued_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _verifies(identity: SigningIdentity, signature: bytes) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    key: Any = x509.load_pem_x509_certificate(identity.chain.encode()).public_key()
    method = getattr(hashes, f"SHA{identity.algorithm[2:]}")()
    try:
        if identity.algorithm == "PS256":
            key.verify(signature, _PROOF, padding.PSS(padding.MGF1(method), method.digest_size), method)
        else:
            half = len(signature) // 2
            numbers = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            key.verify(utils.encode_dss_signature(*numbers), _PROOF, ec.ECDSA(method))
    except InvalidSignature:
        return False
    return True


def _listed(setting: str | None) -> list[bytes]:
    """The certificates of `SIGNING_CERTIFICATE_CHAIN`, each as PEM."""
    if not setting:
        return []
    try:
        return [found.encode() for found in _PEM.findall(pem.read(setting))]
    except (OSError, ValueError):
        return []


def _over(identity: SigningIdentity) -> bool:
    return identity.not_after <= datetime.now(UTC)


def _wrong(what: str) -> DarkroomError:
    return DarkroomError("misconfigured", f"SIGNING_CERTIFICATE: {what}.")
