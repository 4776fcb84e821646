"""The local key vault and an identity endpoint in this process, and certificates of every kind to put into it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import Receive, Scope, Send

from local.certificates import Certificates, key_usage
from local.environment import VAULT_CERTIFICATE
from local.identity import IdentityServer
from local.key_vault import EMAIL_PROTECTION, Key, KeyVault
from local.serving import listen


@dataclass(slots=True)
class Served:
    """A running vault, which another may take the place of; `identifier` is what `SIGNING_CERTIFICATE` is set to."""

    vault: KeyVault
    url: str = ""

    @property
    def identifier(self) -> str:
        return f"{self.url}/certificates/{VAULT_CERTIFICATE}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.vault.app(scope, receive, send)

    def fail(self, *statuses: int, delay_seconds: float = 0.0) -> None:
        """Answer the next requests with `statuses`; all that come, late, without one."""
        faults = [{"count": 1, "status": status, "delay_seconds": delay_seconds} for status in statuses]
        self.vault.faults = faults or [{"count": 1_000, "delay_seconds": delay_seconds}]


@contextmanager
def serving(vault: KeyVault, certificates: Certificates) -> Iterator[Served]:
    """The vault on a free port, in a thread of its own."""
    served = Served(vault)
    config = uvicorn.Config(
        served,
        ssl_certfile=certificates.cert,
        ssl_keyfile=certificates.key,
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    server = uvicorn.Server(config)
    server.force_exit = True  # a test that is over waits for no answer
    with listen(0) as listener:
        listener.listen()  # requests that come before it serves wait here
        served.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield served
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def serving_identity(header: str) -> Iterator[IdentityServer]:
    server = IdentityServer(0, header)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


def issued(
    issuer: Issued | None = None,
    *,
    key: Key | None = None,
    authority: bool = False,
    usage: str | None = EMAIL_PROTECTION,
    names_issuer: bool = True,
    signs: bool = True,
    days: float = 365,
    begins_in: float = -730,
) -> Issued:
    """A certificate that ends in `days`, signed by `issuer` or by itself; of an authority, or for `usage`.

    Without `names_issuer` it has no authority key identifier; without `signs` its key may sign certificates alone.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = _name("Test Root" if authority and issuer is None else "Test Issuer" if authority else "Test Signer")
    now, signer = datetime.now(UTC), issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins_in))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=authority or not signs), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names_issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if usage and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage)]), critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Owner"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
