"""Who signs derived images: which certificates serve, for how long, and when they are warned of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared import settings as app_settings
from shared.delivery import signing, signing_identity
from shared.errors import DarkroomError
from shared.platform import clients
from tests.support.signed_by_app import Use, failure, sign
from tests.support.vault import Issued, issued


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


def test_a_chain_that_is_none_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for chain, identifier in (("no-such.pem", "https://kv.vault.azure.net/certificates/a"), (issued().pem, "")):
        monkeypatch.setenv("SIGNING_CERTIFICATE_CHAIN", chain)
        monkeypatch.setenv("SIGNING_CERTIFICATE", identifier)
        app_settings.settings.cache_clear()
        assert (signing_identity.problem() or "").startswith("SIGNING_CERTIFICATE_CHAIN ")
    app_settings.settings.cache_clear()


async def test_a_certificate_of_some_months_is_warned_of_by_nobody(use: Use) -> None:
    use(issued(days=100.5))
    identity = await signing_identity.prove()

    assert (signing_identity.days_left(identity), signing_identity.ends_soon(identity)) == (100, None)


async def test_a_certificate_that_ends_within_thirty_days_is_warned_of(use: Use) -> None:
    use(issued(days=12.5))
    identity = await signing_identity.prove()
    day = identity.not_after.date().isoformat()

    assert signing_identity.ends_soon(identity) == (
        f"SIGNING_CERTIFICATE: the certificate ends in 12 days, on {day}; renew it in the vault."
    )


async def test_a_key_that_is_not_the_certificates_proves_nothing(use: Use) -> None:
    use(key=issued().key)
    with pytest.raises(DarkroomError, match="is not the one the certificate is for"):
        await signing_identity.prove()
