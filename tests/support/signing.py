"""Images signed with C2PA by certificates made on the spot, in the way of each vendor."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

from local import certificates

C2PA_CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"
DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"
MICROSOFT_C2PA = "1.3.6.1.4.1.311.76.59.1.9"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
KEY_USAGES = (C2PA_CLAIM_SIGNING, DOCUMENT_SIGNING, MICROSOFT_C2PA, EMAIL_PROTECTION)

MANIFEST = {
    "claim_generator_info": [{"name": "Test Media Service", "version": "2.1"}],
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {
                "actions": [
                    {
                        "action": "c2pa.created",
                        "softwareAgent": {"name": "test-image", "version": "1"},
                        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
                    }
                ]
            },
        }
    ],
}


class Vendor:
    """A certificate authority and one leaf of it; `anchors` is the authority as PEM."""

    def __init__(self, key_usage: str = C2PA_CLAIM_SIGNING, *, lifetime: timedelta = timedelta(days=365)) -> None:
        self._key_usage = key_usage
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority_name = _name("Test Authority", "Test Root")
        today = datetime.now(UTC)
        authority = (
            _certificate(authority_name, authority_name, authority_key.public_key(), today + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(certificates.key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            _certificate(_name("Test Vendor, LLC", "Test Signer"), authority_name, key.public_key(), today + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(certificates.key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(key_usage)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .sign(authority_key, hashes.SHA256())
        )
        self.anchors = _pem(authority)
        self._chain = _pem(leaf) + self.anchors
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, image: bytes, content_type: str = "image/png") -> bytes:
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(alg="es256", sign_cert=self._chain.encode(), private_key=self._key, ta_url=None)
        )
        settings = {
            "trust": {"trust_config": self._key_usage, "user_anchors": self.anchors},
            "builder": {"thumbnail": {"enabled": False}},
            "verify": {"verify_after_sign": False},
        }
        signed = io.BytesIO()
        with c2pa.Context.from_dict(settings, signer=signer) as context:
            builder = c2pa.Builder(json.dumps(MANIFEST), context)
            builder.sign(content_type, io.BytesIO(image), signed)
        return signed.getvalue()


@cache
def vendor(key_usage: str = C2PA_CLAIM_SIGNING) -> Vendor:
    return Vendor(key_usage)


def picture(content_type: str = "image/png", size: tuple[int, int] = (96, 64), noise: int = 40) -> bytes:
    """A small picture; `noise` makes it as incompressible as is asked."""
    stream = io.BytesIO()
    image = Image.effect_noise(size, noise).convert("RGB")
    image.save(stream, content_type.removeprefix("image/"))
    return stream.getvalue()


def large_png(size: int) -> bytes:
    """A PNG of `size` bytes: a picture with a private chunk of noise."""
    png = picture()
    data = random.Random(size).randbytes(size - len(png) - 12)
    body = b"noIs" + data
    return png[:33] + struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


def resaved(image: bytes) -> bytes:
    """What an editor that knows nothing of C2PA makes of it."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.save(stream, opened.format)
    return stream.getvalue()


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=730))
        .not_valid_after(until)
    )


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
