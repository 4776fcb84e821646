"""A vault that the app signs derived images with, for the tests of signing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from local.certificates import Certificates
from local.key_vault import KeyVault
from shared import settings as app_settings
from shared.delivery import provenance
from shared.platform import clients, key_vault
from tests.support.signed_by_app import IDENTITY_HEADER, Use
from tests.support.vault import Issued, Served, issued, serving, serving_identity


@pytest.fixture(scope="module")
def servers(certificates: Certificates) -> Iterator[tuple[Served, str]]:
    """A vault, and the URL of the identity endpoint that gives tokens for it."""
    signer = issued()
    with (
        serving(KeyVault(signer.certificate, signer.key), certificates) as vault,
        serving_identity(IDENTITY_HEADER) as identity,
    ):
        yield vault, identity.url


@pytest.fixture
async def use(servers: tuple[Served, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Use]:
    """`use(certificate, key=, **settings)`: the app is told to sign with the vault, which has this certificate."""
    vault, identity = servers
    await clients.close()

    def put(signer: Issued | None = None, *, key: Any = None, **settings: str) -> Served:
        signer = signer or issued(issued(authority=True))
        vault.vault = KeyVault(signer.certificate, key or signer.key)
        changes = {
            "IDENTITY_ENDPOINT": identity,
            "IDENTITY_HEADER": IDENTITY_HEADER,
            "ALLOW_PRIVATE_NETWORKS": "1",
            "SIGNING_CERTIFICATE": vault.identifier,
        }
        for name, value in (changes | settings).items():
            monkeypatch.setenv(name, value)
        app_settings.settings.cache_clear()
        provenance._context.cache_clear()
        return vault

    yield put
    await clients.close()
    app_settings.settings.cache_clear()
    provenance._context.cache_clear()


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second tries, for tests in which every one fails."""
    monkeypatch.setattr(key_vault, "_TRIES", 1)
