"""What is said of a derived image that is signed, with a key in a vault, over the wire."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from local.key_vault import Key
from shared.delivery import signing, signing_identity
from shared.errors import DarkroomError
from tests.support.signed_by_app import Use, actions_of, manifest_of, sign
from tests.support.signing import picture, resaved, vendor
from tests.support.vault import issued

OPENED_RESIZED = ["c2pa.opened", "c2pa.resized"]


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
    assert await signing_identity.prove() is await signing_identity.current()


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


async def test_an_image_c2pa_makes_nothing_of_is_an_error_without_its_bytes(use: Use) -> None:
    use()
    with pytest.raises(DarkroomError) as caught:
        await sign(b"no image at all")

    assert caught.value.code == "internal_error"
    assert "no image at all" not in caught.value.message
