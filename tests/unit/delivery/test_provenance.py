"""Provenance: what an image says of itself, read with the vendors' key usages and an operator's trust list."""

import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import c2pa
import pytest

from shared.delivery import provenance
from shared.delivery.provenance import EXTENDED_KEY_USAGES, UNREADABLE, Provenance, inspect, trust_anchors_problem
from shared.settings import Settings
from tests.support.signing import KEY_USAGES, Vendor, picture, resaved, vendor

OFFICIAL_LIST = Path(__file__).parents[4] / "shared" / "data" / "C2PA-TRUST-LIST.pem"


@pytest.fixture(autouse=True)
def no_anchors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_anchors(monkeypatch, None)
    yield
    provenance._context.cache_clear()


def use_anchors(monkeypatch: pytest.MonkeyPatch, anchors: str | None) -> None:
    provenance._context.cache_clear()
    monkeypatch.setattr(provenance, "settings", lambda: replace(Settings(), c2pa_trust_anchors=anchors))


def read(image: bytes, content_type: str = "image/png") -> Provenance:
    return inspect(io.BytesIO(image), content_type)


def with_manifest_chunk(png: bytes, data: bytes) -> bytes:
    body = b"caBX" + data
    return png[:33] + struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
@pytest.mark.parametrize("key_usage", KEY_USAGES)
def test_an_image_signed_for_each_vendors_key_usage_is_valid(key_usage, content_type):
    found = read(vendor(key_usage).sign(picture(content_type), content_type), content_type)
    assert found.state == "valid"
    assert "signingCredential.untrusted" in found.codes


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
@pytest.mark.parametrize("key_usage", KEY_USAGES)
def test_it_is_trusted_when_its_authority_is_on_the_trust_list(monkeypatch, key_usage, content_type):
    use_anchors(monkeypatch, vendor(key_usage).anchors)
    found = read(vendor(key_usage).sign(picture(content_type), content_type), content_type)
    assert (found.state, "signingCredential.untrusted" in found.codes) == ("trusted", False)


@pytest.mark.parametrize("key_usage", KEY_USAGES[:3])
def test_the_librarys_own_defaults_would_call_the_same_image_invalid(key_usage):
    image = vendor(key_usage).sign(picture())
    assert c2pa.Reader("image/png", io.BytesIO(image)).get_validation_state() == "Invalid"


def test_the_accepted_key_usages_are_those_of_the_vendors():
    assert set(EXTENDED_KEY_USAGES) == set(KEY_USAGES)


def test_the_trust_list_may_be_a_file(monkeypatch, tmp_path):
    path = tmp_path / "anchors.pem"
    path.write_text(f"Subject CN=Tést\n{vendor().anchors}", encoding="utf-8")
    use_anchors(monkeypatch, str(path))
    assert read(vendor().sign(picture())).state == "trusted"


def test_the_trust_list_may_be_text_of_one_line(monkeypatch):
    use_anchors(monkeypatch, vendor().anchors.replace("\n", "\\n"))
    assert read(vendor().sign(picture())).state == "trusted"


@pytest.mark.parametrize("anchors", ["/no/such/file.pem", "https://example.com/list.pem", "-----BEGIN rubbish"])
def test_a_trust_list_that_is_none_costs_trust_and_nothing_else(monkeypatch, anchors):
    use_anchors(monkeypatch, anchors)
    assert read(vendor().sign(picture())).state == "valid"
    assert "C2PA_TRUST_ANCHORS" in (trust_anchors_problem(anchors) or "")


@pytest.mark.skipif(not OFFICIAL_LIST.exists(), reason="the official trust list is not beside the project")
def test_the_official_trust_list_is_read(monkeypatch):
    use_anchors(monkeypatch, str(OFFICIAL_LIST))
    assert trust_anchors_problem(str(OFFICIAL_LIST)) is None
    assert read(vendor().sign(picture())).state == "valid"


def test_what_the_manifest_says_is_read_out():
    found = read(vendor().sign(picture()))
    assert (found.issuer, found.common_name) == ("Test Vendor, LLC", "Test Signer")
    assert found.claim_generator == "Test Media Service 2.1"
    assert found.digital_source_type.endswith("/trainedAlgorithmicMedia")
    assert found.software_agent == "test-image"
    assert found.manifest["active_manifest"] in found.manifest["manifests"]
    assert found.summary() == {"state": "valid", "issuer": "Test Vendor, LLC"}
    assert json.loads(json.dumps(found.to_dict()))["manifest"] == found.manifest


def test_a_claim_of_version_1_names_its_generator_in_one_string():
    old = {"claim_generator": "OpenAI-API c2pa-rs/0.28.4", "assertions": [{"label": "c2pa.actions", "data": None}]}
    found = provenance._read({"active_manifest": "a", "manifests": {"a": old}, "validation_state": "Valid"})
    assert (found.state, found.claim_generator, found.software_agent) == ("valid", "OpenAI-API c2pa-rs/0.28.4", None)


def test_a_changed_pixel_makes_it_invalid_with_the_code_that_says_so():
    image = bytearray(vendor().sign(picture()))
    image[-30] ^= 1
    found = read(bytes(image))
    assert found.state == "invalid"
    assert "assertion.dataHash.mismatch" in found.codes
    assert found.issuer == "Test Vendor, LLC"


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
def test_an_image_that_was_saved_again_has_none(content_type):
    signed = vendor().sign(picture(content_type), content_type)
    assert read(resaved(signed), content_type) == Provenance("none")
    assert read(picture(content_type), content_type) == Provenance("none")


def test_a_certificate_that_has_expired_since_makes_it_invalid_with_the_code_that_says_so():
    image = Vendor(lifetime=timedelta(seconds=2)).sign(picture())
    end = time.monotonic() + 20
    while "signingCredential.expired" not in (found := read(image)).codes and time.monotonic() < end:
        time.sleep(0.1)
    assert "signingCredential.expired" in found.codes
    assert found.state == "invalid"


@pytest.mark.parametrize("data", [b"garbage" * 20, bytes(500), b"\0\0\0\x10jumb" + bytes(8)])
def test_a_manifest_that_is_garbage_is_invalid_with_a_code_of_ours(data):
    found = read(with_manifest_chunk(picture(), data))
    assert (found.state, found.codes[0], found.manifest) == ("invalid", UNREADABLE, None)


@pytest.mark.parametrize("cut", [0, 7, 40, 1000, -20])
def test_no_cut_of_a_file_raises(cut):
    assert read(vendor().sign(picture())[:cut]).state in ("invalid", "none")


def test_a_file_of_another_type_than_announced_is_read_all_the_same():
    assert read(vendor().sign(picture("image/jpeg"), "image/jpeg"), "image/png").state == "valid"
