"""Signing derived images with a key in a vault, over the wire: what is said of them, and what becomes of failures."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from local.certificates import Certificates
from local.key_vault import Key, KeyVault
from shared import settings as app_settings
from shared.delivery import provenance, signing, signing_identity
from shared.errors import DarkroomError
from shared.platform import clients, key_vault
from tests.support.signing import picture, resaved, vendor
from tests.support.vault import Issued, Served, issued, serving, serving_identity

IDENTITY_HEADER = "the-identitys-secret"
OPENED_RESIZED = ["c2pa.opened", "c2pa.resized"]

type Use = Callable[..., Served]


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


async def sign(
    image: Any = None,
    parent: bytes | None = None,
    *,
    content_type: str = "image/png",
    actions: tuple[dict[str, Any], ...] = ({"action": "c2pa.resized"},),
    components: tuple[tuple[Any, str], ...] = (),
) -> provenance.Provenance:
    """What is read out of a signed image."""
    signed = await signing.sign(
        image or picture(content_type),
        content_type,
        parent=parent or vendor().sign(picture()),
        parent_content_type="image/png",
        title="0.contain-96x64.png",
        actions=actions,
        components=components,
    )
    return provenance.inspect(io.BytesIO(signed), content_type)


async def failure() -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        await sign()
    return caught.value


def manifest_of(found: provenance.Provenance) -> dict[str, Any]:
    assert found.manifest is not None
    active: dict[str, Any] = found.manifest["manifests"][found.manifest["active_manifest"]]
    return active


def actions_of(found: provenance.Provenance) -> list[dict[str, Any]]:
    (assertion,) = (one for one in manifest_of(found)["assertions"] if one["label"].startswith("c2pa.actions"))
    listed: list[dict[str, Any]] = assertion["data"]["actions"]
    return listed


# -- what is said of an image


async def test_the_chain_reads_from_the_derived_image_to_the_models_own(use: Use) -> None:
    use()
    found = await sign()

    assert (found.state, found.issuer, found.claim_generator) == ("valid", "Test Owner", "Darkroom 1.0.0")
    (parent,) = manifest_of(found)["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert found.manifest is not None
    models = found.manifest["manifests"][parent["active_manifest"]]
    assert models["claim_generator_info"][0]["name"] == "Test Media Service"
    assert [action["action"] for action in actions_of(found)] == OPENED_RESIZED
    assert len(actions_of(found)[0]["parameters"]["ingredients"]) == 1


async def test_it_is_trusted_under_the_authority_of_the_signer(use: Use) -> None:
    root = issued(authority=True)
    use(issued(root), C2PA_TRUST_ANCHORS=root.pem)

    assert (await sign()).state == "trusted"


@pytest.mark.parametrize("line_end", ["\n", "\\n"])
async def test_issuers_between_the_signer_and_its_root_come_from_the_chain_setting(use: Use, line_end: str) -> None:
    root = issued(authority=True)
    between = issued(root, authority=True)
    use(
        issued(between),
        C2PA_TRUST_ANCHORS=root.pem,
        SIGNING_CERTIFICATE_CHAIN=between.pem.strip().replace("\n", line_end),
    )

    assert (await sign()).state == "trusted"


async def test_a_certificate_that_signed_itself_serves_for_trying_out(use: Use) -> None:
    use(issued())

    assert (await sign()).state == "valid"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
        ("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
        ("PS256", lambda: rsa.generate_private_key(65_537, 2_048)),
    ],
)
async def test_every_kind_of_key_that_both_know_signs(use: Use, algorithm: str, key: Callable[[], Key]) -> None:
    use(issued(issued(authority=True), key=key()))
    found = await sign()

    assert found.state == "valid"
    assert manifest_of(found)["signature_info"]["alg"].upper() == algorithm
    assert (await signing.health())["warning"] is None


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/webp"])
async def test_every_format_that_is_derived_can_be_signed(use: Use, content_type: str) -> None:
    use()

    assert (await sign(content_type=content_type)).state == "valid"


async def test_an_image_may_come_in_pieces(use: Use) -> None:
    use()
    image = picture()

    assert (await sign([image[:1000], image[1000:]])).state == "valid"


async def test_a_composite_names_what_was_placed_into_it(use: Use) -> None:
    use()
    edited = {"action": "c2pa.edited", "digitalSourceType": signing.COMPOSITE_WITH_AI}
    found = await sign(
        actions=(edited,), components=((picture(), "image/png"), (vendor().sign(picture()), "image/png"))
    )

    assert found.state == "valid"
    assert found.digital_source_type == signing.COMPOSITE_WITH_AI
    ingredients = manifest_of(found)["ingredients"]
    assert [one["relationship"] for one in ingredients] == ["parentOf", "componentOf", "componentOf"]
    assert ["active_manifest" in one for one in ingredients] == [True, False, True]
    assert [one["action"] for one in actions_of(found)] == ["c2pa.opened", "c2pa.placed", "c2pa.placed", "c2pa.edited"]


async def test_a_parent_without_a_manifest_is_an_ingredient_without_one(use: Use) -> None:
    use()
    found = await sign(parent=resaved(vendor().sign(picture())))

    assert found.state == "valid"
    assert ["active_manifest" in one for one in manifest_of(found)["ingredients"]] == [False]


async def test_a_parent_whose_pixels_were_changed_is_taken_and_said_to_be_so(use: Use) -> None:
    use()
    changed = bytearray(vendor().sign(picture()))
    changed[-30] ^= 1
    found = await sign(parent=bytes(changed))

    assert found.state == "valid"
    (parent,) = manifest_of(found)["ingredients"]
    codes = [one["code"] for one in parent["validation_results"]["activeManifest"]["failure"]]
    assert "assertion.dataHash.mismatch" in codes


async def test_a_parent_whose_manifest_cannot_be_read_is_described_as_such(use: Use) -> None:
    use()
    png = picture()
    garbage = b"caBX" + b"garbage" * 20
    chunk = (len(garbage) - 4).to_bytes(4) + garbage + zlib.crc32(garbage).to_bytes(4)
    found = await sign(parent=png[:33] + chunk + png[33:])

    assert found.state == "valid"
    (parent,) = manifest_of(found)["ingredients"]
    assert parent["description"] == "The manifest of this image could not be read."


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_damaged_in_a_parents_manifest_the_derived_image_is_signed(use: Use, data: Any) -> None:
    if not signing.configured():
        use()
    image = bytearray(vendor().sign(picture()))
    start = image.index(b"caBX")
    end = start + 4 + int.from_bytes(image[start - 4 : start])
    for position in data.draw(st.lists(st.integers(start + 4, end - 1), min_size=1, max_size=5)):
        image[position] ^= data.draw(st.integers(1, 255))
    found = await sign(parent=bytes(image))

    assert found.state == "valid"
    assert [one["relationship"] for one in manifest_of(found)["ingredients"]] == ["parentOf"]


async def test_a_manifest_holds_no_thumbnail_and_no_address(use: Use) -> None:
    vault = use()
    text = json.dumps(manifest_of(await sign()))

    assert "thumbnail" not in text
    assert vault.url not in text


# -- the vault


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


# -- the identity


@pytest.mark.parametrize(
    ("signer", "said"),
    [
        (lambda: issued(days=-1), "the certificate ended on "),
        (lambda: issued(begins_in=1), "the certificate begins on "),
        (lambda: issued(usage="1.3.6.1.5.5.7.3.3"), "has no extended key usage of C2PA's"),
        (lambda: issued(usage=None), "has no extended key usage of C2PA's"),
        (lambda: issued(signs=False), "has no key usage digitalSignature"),
        (lambda: issued(names_issuer=False), "has no authority key identifier"),
        (lambda: issued(key=ec.generate_private_key(ec.SECP256K1())), "its key is of no kind that C2PA signs with"),
    ],
)
async def test_a_certificate_that_cannot_sign_images_is_refused_before_anything_is_signed(
    use: Use, signer: Callable[[], Issued], said: str
) -> None:
    vault = use(signer())
    with pytest.raises(DarkroomError) as caught:
        await signing.check()

    assert (caught.value.code, said in caught.value.message) == ("misconfigured", True)
    assert (await failure()).message == caught.value.message
    assert not any(entry["path"].startswith("/keys/") for entry in vault.vault.requests)


async def test_a_key_that_is_not_the_certificates_signs_nothing_that_leaves(use: Use) -> None:
    use(key=issued().key)
    error = await failure()

    assert (error.code, "is not the one that the certificate is for" in error.message) == ("misconfigured", True)


async def test_a_chain_that_is_another_ones_is_refused(use: Use) -> None:
    use(SIGNING_CERTIFICATE_CHAIN=issued(authority=True).pem)
    error = await failure()

    assert (error.code, "SIGNING_CERTIFICATE_CHAIN is not its chain" in error.message) == ("misconfigured", True)


async def test_a_renewed_certificate_is_found_when_the_old_ones_hour_is_over(use: Use) -> None:
    use(issued())
    first = await signing_identity.current()
    use(issued())
    assert await signing_identity.current() is first
    clients._kept["signing identity"].until -= 3_600

    assert (await signing_identity.current()).key != first.key


async def test_an_old_certificate_is_not_used_beyond_its_end(use: Use) -> None:
    use(issued())
    ended = dataclasses.replace(await signing_identity.current(), not_after=datetime.now(UTC))
    clients._kept["signing identity"].identity = ended

    assert await signing_identity.current() is not ended
    assert (await sign()).state == "valid"


async def test_an_image_c2pa_makes_nothing_of_is_an_error_without_its_bytes(use: Use) -> None:
    use()
    with pytest.raises(DarkroomError) as caught:
        await sign(b"no image at all")

    assert caught.value.code == "internal_error"
    assert "no image at all" not in caught.value.message


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


def test_a_chain_that_is_none_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for chain, identifier in (("no-such.pem", "https://kv.vault.azure.net/certificates/a"), (issued().pem, "")):
        monkeypatch.setenv("SIGNING_CERTIFICATE_CHAIN", chain)
        monkeypatch.setenv("SIGNING_CERTIFICATE", identifier)
        app_settings.settings.cache_clear()
        assert (signing_identity.problem() or "").startswith("SIGNING_CERTIFICATE_CHAIN ")
    app_settings.settings.cache_clear()


# -- health, logs


async def test_health_names_the_day_the_certificate_ends(use: Use) -> None:
    use(issued(days=100.5))
    shown = await signing.health()

    assert (shown["days_left"], shown["warning"]) == (100, None)


async def test_health_warns_of_a_certificate_that_ends_within_thirty_days(use: Use) -> None:
    use(issued(days=12.5))
    shown = await signing.health()

    assert shown["warning"] == (
        f"SIGNING_CERTIFICATE: the certificate ends in 12 days, on {shown['expires_on']}; renew it in the vault."
    )


async def test_health_tells_a_key_that_is_not_the_certificates(use: Use) -> None:
    use(key=issued().key)
    with pytest.raises(DarkroomError, match="is not the one the certificate is for"):
        await signing.health()


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
