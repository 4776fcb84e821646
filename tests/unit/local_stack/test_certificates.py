"""The stack's certificates: accepted by strict verifiers, kept while good, renewed in time, for this machine alone."""

from __future__ import annotations

import datetime
import socket
import ssl
import stat
import threading
from pathlib import Path

import certifi
import pytest
from cryptography import x509

from local.certificates import SERVER_DAYS, Certificates, ensure_certificates, trust_environment
from local.serving import listen

NOW = datetime.datetime.now(datetime.UTC)


def contents(certificates: Certificates) -> list[bytes]:
    return [path.read_bytes() for path in (certificates.ca, certificates.cert, certificates.key)]


def bodies(path: Path) -> list[bytes]:
    """The certificates of a PEM file as base64 text, without line ends."""
    blocks = path.read_bytes().split(b"-----BEGIN CERTIFICATE-----")[1:]
    return [b"".join(block.partition(b"-----END")[0].split()) for block in blocks]


def shake_hands(certificates: Certificates, trusted: Path, hostname: str) -> str | None:
    """Make one TLS connection on loopback with `trusted` as the only roots; return the protocol spoken."""
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificates.cert, certificates.key)
    client_context = ssl.create_default_context(cafile=trusted)
    client_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with listen(0) as listener:
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    server_context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    return  # the client turned away

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as plain,
                client_context.wrap_socket(plain, server_hostname=hostname) as secured,
            ):
                return secured.version()
        finally:
            thread.join()


@pytest.mark.parametrize("hostname", ["localhost", "127.0.0.1"])
def test_a_strict_client_that_trusts_the_authority_connects(tmp_path: Path, hostname: str) -> None:
    certificates = ensure_certificates(tmp_path, {})
    assert shake_hands(certificates, certificates.ca, hostname) == "TLSv1.3"
    assert shake_hands(certificates, certificates.bundle, hostname) == "TLSv1.3"


def test_another_folders_authority_is_not_trusted(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path / "one", {})
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates, ensure_certificates(tmp_path / "two", {}).ca, "localhost")


def test_the_authority_can_vouch_for_this_machine_only(tmp_path: Path) -> None:
    authority = x509.load_pem_x509_certificate(ensure_certificates(tmp_path, {}).ca.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {str(name.value) for name in constraints.value.permitted_subtrees or []} == {"localhost", "127.0.0.0/8"}


def test_good_certificates_are_kept(tmp_path: Path) -> None:
    first = contents(ensure_certificates(tmp_path, {}))
    assert contents(ensure_certificates(tmp_path, {})) == first


def test_a_server_certificate_near_its_end_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    ca, cert, key = contents(ensure_certificates(tmp_path, {}))
    later = ensure_certificates(tmp_path, {}, NOW + datetime.timedelta(days=SERVER_DAYS - 5))
    new_ca, new_cert, new_key = contents(later)
    assert new_ca == ca
    assert (new_cert != cert, new_key != key) == (True, True)


def test_an_authority_near_its_end_is_replaced_with_all_it_vouched_for(tmp_path: Path) -> None:
    ca, cert, _ = contents(ensure_certificates(tmp_path, {}))
    new_ca, new_cert, _ = contents(ensure_certificates(tmp_path, {}, NOW + datetime.timedelta(days=820)))
    assert (new_ca != ca, new_cert != cert) == (True, True)


@pytest.mark.parametrize("damaged", ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damaged: str) -> None:
    ensure_certificates(tmp_path, {})
    (tmp_path / damaged).write_text("-----BEGIN NOTHING-----")
    certificates = ensure_certificates(tmp_path, {})
    assert shake_hands(certificates, certificates.ca, "localhost") == "TLSv1.3"


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, {})
    for name in ("ca-key.pem", "server-key.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_bundle_holds_the_public_roots_and_those_the_environment_names(tmp_path: Path) -> None:
    company = ensure_certificates(tmp_path / "company", {}).ca
    certificates = ensure_certificates(tmp_path / "stack", {"SSL_CERT_FILE": str(company)})
    held = bodies(certificates.bundle)
    for path in (certificates.ca, company, Path(certifi.where())):
        assert set(bodies(path)) <= set(held)
    assert len(held) == len(set(held))


def test_a_bundle_that_includes_itself_does_not_grow(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path, {})
    size = certificates.bundle.stat().st_size
    assert ensure_certificates(tmp_path, trust_environment(certificates)).bundle.stat().st_size == size
