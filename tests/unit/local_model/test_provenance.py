"""Section 7 of the API reference: every picture carries Content Credentials that c2pa readers can check."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from local.model.behaviour import EXTENDED_KEY_USAGES
from local.model.certificates import CA_FILE, signing_certificate
from tests.unit.local_model.support import (
    EDITS,
    GENERATIONS,
    PROMPT,
    first_bytes,
    opened,
    part,
    png,
    read_manifest,
)


def active(store: dict[str, Any]) -> dict[str, Any]:
    manifest: dict[str, Any] = store["manifests"][store["active_manifest"]]
    return manifest


def failures(store: dict[str, Any]) -> set[str]:
    return {status["code"] for status in store["validation_results"]["activeManifest"]["failure"]}


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_a_picture_is_trusted_with_the_servers_authority_and_valid_without(
    client: httpx.AsyncClient, state_dir: Path, output_format: str
) -> None:
    content = first_bytes(await client.post(GENERATIONS, json={**PROMPT, "output_format": output_format}))
    trusted, _ = read_manifest(content, state_dir / CA_FILE, f"image/{output_format}")
    valid, store = read_manifest(content, None, f"image/{output_format}")
    assert (trusted, valid) == ("Trusted", "Valid")
    assert failures(store) == {"signingCredential.untrusted"}


async def test_the_manifest_says_what_azures_say(client: httpx.AsyncClient, state_dir: Path) -> None:
    _, store = read_manifest(first_bytes(await client.post(GENERATIONS, json=PROMPT)), state_dir / CA_FILE)
    manifest = active(store)
    [actions] = [item for item in manifest["assertions"] if item["label"] == "c2pa.actions.v2"]
    [action] = actions["data"]["actions"]
    assert manifest["claim_generator_info"][0]["name"] == "Microsoft Responsible AI Provenance"
    assert action["action"] == "c2pa.created"
    assert action["softwareAgent"]["name"] == "Azure OpenAI ImageGen"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert action["description"] == "Generated with AI"


async def test_the_manifest_stands_right_after_the_png_header(client: httpx.AsyncClient) -> None:
    content = first_bytes(await client.post(GENERATIONS, json=PROMPT))
    assert content[37:41] == b"caBX"


@pytest.mark.usefixtures("app")
def test_no_certificate_names_a_vendor(state_dir: Path) -> None:
    certificates = [
        x509.load_pem_x509_certificate(file.read_bytes())
        for file in state_dir.glob("c2pa-*.pem")
        if "key" not in file.name
    ]
    assert len(certificates) == 1 + len(EXTENDED_KEY_USAGES)
    subjects = " ".join(certificate.subject.rfc4514_string() for certificate in certificates)
    assert not any(name in subjects for name in ("Microsoft", "OpenAI", "Azure"))
    assert all((file.stat().st_mode & 0o077) == 0 for file in state_dir.glob("*key.pem"))


@pytest.mark.parametrize("eku", [name for name in EXTENDED_KEY_USAGES if name != "emailProtection"])
async def test_other_key_usages_are_invalid_until_a_reader_lists_them(
    client: httpx.AsyncClient, state_dir: Path, eku: str
) -> None:
    await client.put("/_local/behaviour", json={"eku": eku})
    content = first_bytes(await client.post(GENERATIONS, json=PROMPT))
    state, store = read_manifest(content, state_dir / CA_FILE)
    listed, _ = read_manifest(content, state_dir / CA_FILE, trust_config=EXTENDED_KEY_USAGES[eku])
    assert (state, listed) == ("Invalid", "Trusted")
    assert "signingCredential.invalid" in failures(store)


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_a_tampered_picture_opens_and_fails_its_data_hash(
    client: httpx.AsyncClient, state_dir: Path, output_format: str
) -> None:
    await client.put("/_local/behaviour", json={"faults": [{"tampered": True}]})
    tampered = first_bytes(await client.post(GENERATIONS, json={**PROMPT, "output_format": output_format}))
    honest = first_bytes(await client.post(GENERATIONS, json={**PROMPT, "output_format": output_format}))
    state, store = read_manifest(tampered, state_dir / CA_FILE, f"image/{output_format}")
    assert state == "Invalid"
    assert "assertion.dataHash.mismatch" in failures(store)
    assert opened(tampered).tobytes() != opened(honest).tobytes()


@pytest.mark.parametrize("behaviour", [{"unsigned": True}, {"faults": [{"unsigned": True}]}])
async def test_an_unsigned_picture_has_no_manifest(client: httpx.AsyncClient, behaviour: dict[str, Any]) -> None:
    await client.put("/_local/behaviour", json=behaviour)
    assert b"caBX" not in first_bytes(await client.post(GENERATIONS, json=PROMPT))


async def test_a_signed_source_becomes_an_ingredient_and_an_unsigned_one_does_not(
    client: httpx.AsyncClient, state_dir: Path
) -> None:
    source = first_bytes(await client.post(GENERATIONS, json=PROMPT))
    _, before = read_manifest(source, state_dir / CA_FILE)
    files = [part(png()), part(source)]
    edited = first_bytes(await client.post(EDITS, data=PROMPT, files=files))
    state, store = read_manifest(edited, state_dir / CA_FILE)
    [ingredient] = active(store)["ingredients"]
    assert state == "Trusted"
    assert (ingredient["relationship"], ingredient["active_manifest"]) == ("inputTo", before["active_manifest"])


def with_manifest_bytes(content: bytes, manifest: bytes) -> bytes:
    """A signed PNG whose caBX chunk, which follows the 33 bytes of signature and header, holds something else."""
    (length,) = struct.unpack_from(">I", content, 33)
    chunk = struct.pack(">I", len(manifest)) + b"caBX" + manifest + struct.pack(">I", zlib.crc32(b"caBX" + manifest))
    return content[:33] + chunk + content[33 + 12 + length :]


@pytest.mark.parametrize("manifest", [b"", bytes(3000), b"jumb" * 100], ids=["empty", "zeros", "nonsense"])
async def test_a_source_with_broken_credentials_is_edited_and_the_edit_signed(
    client: httpx.AsyncClient, state_dir: Path, manifest: bytes
) -> None:
    source = with_manifest_bytes(first_bytes(await client.post(GENERATIONS, json=PROMPT)), manifest)
    answer = await client.post(EDITS, data=PROMPT, files=[part(source)])
    assert answer.status_code == 200
    assert read_manifest(first_bytes(answer), state_dir / CA_FILE)[0] == "Trusted"


@pytest.mark.usefixtures("app")
def test_the_same_state_directory_keeps_the_authority(state_dir: Path, tmp_path: Path) -> None:
    usage = EXTENDED_KEY_USAGES["emailProtection"]
    again = signing_certificate(state_dir, "emailProtection", usage)
    other = signing_certificate(tmp_path, "emailProtection", usage)
    assert again.authority == (state_dir / CA_FILE).read_text()
    assert other.authority != again.authority
