"""The certificate that derived images are signed with: told to the app, with rights to use it, where there is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import settings as app_settings
from shared.delivery.provenance import EXTENDED_KEY_USAGES
from shared.platform import key_vault
from tests.infra.reference import INFRA, ROLES, VARIANTS, deployed, settings_of

_SIGNING_ROLES = {"Key Vault Reader", "Key Vault Crypto User"}


def roles(variant: str) -> set[str]:
    given = deployed(variant).of_type("Microsoft.Authorization/roleAssignments")
    return {ROLES[one.at("properties.roleDefinitionId")[-36:]] for one in given}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_app_may_sign_with_the_vaults_keys_only_where_it_is_to(variant: str) -> None:
    named = bool(VARIANTS[variant].get("signingCertificateName"))

    assert bool(settings_of(variant)["SIGNING_CERTIFICATE"]) == named
    assert roles(variant) & _SIGNING_ROLES == (_SIGNING_ROLES if named else set())


def test_the_app_is_told_a_certificate_of_its_vault() -> None:
    read = app_settings.read(settings_of("everything set"))

    assert key_vault.identifier_problem(read.signing_certificate or "") is None
    assert (read.signing_certificate or "").endswith("/certificates/darkroom-signing")
    assert (read.signing_certificate_chain or "").startswith("-----BEGIN CERTIFICATE-----")


def test_the_key_of_the_certificate_cannot_leave_the_vault() -> None:
    assert policy()["keyProperties"] == {
        "curve": "P-256",
        "exportable": False,
        "keySize": 256,
        "keyType": "EC",
        "reuseKey": False,
    }


def test_the_certificate_is_one_that_images_can_be_signed_with() -> None:
    wanted = policy()["x509CertificateProperties"]

    assert wanted["keyUsage"] == ["digitalSignature"]
    assert set(wanted["ekus"]) <= set(EXTENDED_KEY_USAGES)
    assert "CN=" in wanted["subject"]
    assert "O=" in wanted["subject"]


def policy() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((INFRA / "signing-certificate.json").read_text())
    return found
