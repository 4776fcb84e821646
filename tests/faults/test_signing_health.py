"""What health tells of the identity that signs derived images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.certificates import Certificates
from local.key_vault import KeyVault
from shared.pipeline import health
from tests.support.app_in_process import App, deployment
from tests.support.vault import Served, issued, serving


@pytest.fixture
def vault(certificates: Certificates) -> Iterator[Served]:
    signer = issued(issued(authority=True), days=100.5)
    with serving(KeyVault(signer.certificate, signer.key), certificates) as served:
        yield served


@pytest.fixture
def details(vault: Served, app: App, configure: Callable[..., None]) -> Callable[..., Any]:
    """The page of an app with these settings; the vault is there until the app's connections to it are closed."""

    async def read(**settings: str) -> dict[str, Any]:
        configure([deployment(app.model.url)], ALLOW_PRIVATE_NETWORKS="1", **settings)
        return await health.details()

    return read


async def test_an_app_without_a_certificate_has_no_such_dependency(details: Callable[..., Any]) -> None:
    assert "signing" not in (await details())["dependencies"]


async def test_a_key_that_signs_is_a_dependency_that_is_well(details: Callable[..., Any], vault: Served) -> None:
    page = await details(SIGNING_CERTIFICATE=vault.identifier)

    signing = page["dependencies"]["signing"]
    assert (signing["status"], signing["days_left"]) == ("ok", 100)
    assert signing["expires_on"] == vault.vault._certificate.not_valid_after_utc.date().isoformat()
    assert not any("SIGNING" in problem for problem in page["problems"])


async def test_a_certificate_that_ends_soon_is_a_problem_while_it_still_signs(
    details: Callable[..., Any], vault: Served
) -> None:
    signer = issued(days=3.5)
    vault.vault = KeyVault(signer.certificate, signer.key)
    page = await details(SIGNING_CERTIFICATE=vault.identifier)

    assert page["dependencies"]["signing"]["status"] == "ok"
    assert [problem for problem in page["problems"] if "ends in 3 days" in problem] != []
    assert page["status"] == "degraded"


async def test_a_vault_that_refuses_is_named_with_the_fix(details: Callable[..., Any], vault: Served) -> None:
    vault.fail(403)
    page = await details(SIGNING_CERTIFICATE=vault.identifier)

    signing = page["dependencies"]["signing"]
    assert (signing["status"], signing["code"]) == ("failed", "misconfigured")
    assert [problem for problem in page["problems"] if "Key Vault Crypto User" in problem] != []


async def test_a_vault_that_does_not_answer_is_down_and_no_wrong_setting(
    details: Callable[..., Any], vault: Served
) -> None:
    vault.fail(503, 503, 503)
    page = await details(SIGNING_CERTIFICATE=vault.identifier)

    assert page["dependencies"]["signing"]["code"] == "signing_unavailable"
    assert not any("SIGNING" in problem for problem in page["problems"])


async def test_a_wrong_setting_is_named_once(details: Callable[..., Any]) -> None:
    page = await details(SIGNING_CERTIFICATE="https://example.com/secrets/key")

    assert page["dependencies"]["signing"]["status"] == "failed"
    assert len([problem for problem in page["problems"] if problem.startswith("SIGNING_CERTIFICATE ")]) == 1


async def test_a_chain_without_a_certificate_is_named_though_there_is_no_dependency(
    details: Callable[..., Any],
) -> None:
    page = await details(SIGNING_CERTIFICATE_CHAIN=issued().pem)

    assert "signing" not in page["dependencies"]
    assert len([problem for problem in page["problems"] if problem.startswith("SIGNING_CERTIFICATE_CHAIN ")]) == 1
