"""Signing asks a key vault: how often, with which token, and what becomes of its failures."""

from __future__ import annotations

import asyncio
import logging

import pytest

from local.certificates import Certificates
from local.key_vault import KeyVault
from shared import settings as app_settings
from shared.delivery import signing, signing_identity
from shared.platform import clients, key_vault
from tests.support.signed_by_app import IDENTITY_HEADER, Use, failure, sign
from tests.support.vault import issued, serving


async def test_one_certificate_serves_for_many_signatures(use: Use) -> None:
    vault = use()
    await asyncio.gather(*(sign() for _ in range(5)))
    kinds = [entry["path"].split("/")[1] for entry in vault.vault.requests]

    assert (kinds.count("certificates"), kinds.count("keys")) == (1, 5)
    assert {entry["audience"] for entry in vault.vault.requests} == {"https://vault.azure.net"}


async def test_a_certificate_may_be_named_by_its_version(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = use()
    await signing.check()
    version = (await signing_identity.current()).key.rpartition("/")[2]
    await clients.close()
    monkeypatch.setenv("SIGNING_CERTIFICATE", f"{vault.identifier}/{version}")
    app_settings.settings.cache_clear()

    assert (await sign()).state == "valid"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_failure_of_the_vault_is_asked_again(use: Use, status: int) -> None:
    vault = use()
    vault.fail(status)

    assert (await sign()).state == "valid"
    assert [entry["status"] for entry in vault.vault.requests][:2] == [status, 200]


async def test_a_vault_that_fails_on_is_unavailable(use: Use, one_try: None) -> None:
    vault = use()
    await signing.check()
    vault.fail(503)

    assert (await failure()).code == "signing_unavailable"
    assert (await sign()).state == "valid"


async def test_a_vault_that_is_down_is_unavailable(use: Use, one_try: None, certificates: Certificates) -> None:
    signer = issued()
    with serving(KeyVault(signer.certificate, signer.key), certificates) as gone:
        pass
    use(signer, SIGNING_CERTIFICATE=gone.identifier)

    assert (await failure()).code == "signing_unavailable"


async def test_a_vault_that_is_too_slow_is_unavailable(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_vault, "CALL_SECONDS", 0.2)
    vault = use()
    await signing.check()
    vault.fail(delay_seconds=2)
    error = await failure()

    assert (error.code, error.message) == (
        "signing_unavailable",
        "The key vault that signs derived images is not available: it did not answer in time.",
    )


async def test_without_an_identity_endpoint_signing_is_unavailable(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = use()
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    error = await failure()

    assert error.code == "signing_unavailable"
    assert vault.vault.requests == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "the app's identity needs the roles Key Vault Reader and Key Vault Crypto User"),
        (404, "there is no such certificate"),
        (400, "the vault refused its certificate"),
    ],
)
async def test_a_refusal_of_the_vault_is_a_setting_to_put_right(use: Use, status: int, said: str) -> None:
    vault = use()
    vault.fail(status)
    error = await failure()

    assert (error.code, said in error.message) == ("misconfigured", True)
    assert len(vault.vault.requests) == 1


@pytest.mark.parametrize(
    "identifier",
    [
        "http://kv.vault.azure.net/certificates/signing",
        "https://kv.vault.azure.net/secrets/signing",
        "https://kv.vault.azure.net/certificates/signing/../../secrets/key",
        "https://kv.vault.azure.net/certificates/signing?api-version=7.4",
        "https://user@kv.vault.azure.net/certificates/signing",
        "https://kv.vault.azure.net:444/certificates/signing",
        "https://kv.vault.azure.net.example.com/certificates/signing",
        "https://example.com/certificates/signing",
        "signing",
    ],
)
async def test_a_token_goes_to_no_address_that_is_no_key_vaults(
    use: Use, identifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(SIGNING_CERTIFICATE=identifier, ALLOW_PRIVATE_NETWORKS="0")
    monkeypatch.setattr(key_vault, "certificate", None)  # whoever called it would fail otherwise

    assert (await failure()).code == "misconfigured"
    assert (signing_identity.problem() or "").startswith("SIGNING_CERTIFICATE ")


@pytest.mark.parametrize("suffix", ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"])
def test_vaults_of_every_cloud_are_known(suffix: str) -> None:
    for version in ("", "/0123456789abcdef0123456789abcdef"):
        assert key_vault.identifier_problem(f"https://kv-1.{suffix}/certificates/darkroom-signing{version}") is None


async def test_no_secret_is_logged(use: Use, caplog: pytest.LogCaptureFixture, one_try: None) -> None:
    caplog.set_level(logging.DEBUG)
    vault = use()
    await sign()
    vault.fail(503)
    await failure()
    vault.fail(403)
    await failure()

    assert "Bearer ey" not in caplog.text
    assert IDENTITY_HEADER not in caplog.text
