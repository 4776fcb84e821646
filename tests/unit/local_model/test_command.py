"""The command: it says when it is ready, speaks HTTPS, and ends when it is told to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import signal
import ssl
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from local.model.deployments import parse_deployments
from tests.unit.local_model.support import GENERATIONS, PROMPT


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


async def test_the_command_serves_https_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = ["--cert", certificate, "--key", key, "--state-dir", tmp_path / "state", "--latency", "0", "--rpm", "1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "local.model",
        *map(str, options),
        "--deployment",
        "mine=gpt-image-1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        ready, url = (await process.stdout.readline()).decode().split()
        context = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(base_url=url, verify=context, headers={"api-key": "k"}) as client:
            mine = GENERATIONS.replace("gpt-image-1", "mine")
            statuses = [(await client.post(mine, json=PROMPT)).status_code for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert (ready, url.startswith("https://127.0.0.1:"), statuses, code) == ("ready", True, [200, 429], 0)
    assert (tmp_path / "state" / "c2pa-ca.pem").exists()
    assert await process.stderr.read() == b""


@pytest.mark.parametrize("pair", ["mine", "=gpt-image-1", "mine=", "mine=dall-e-3"])
def test_a_deployment_that_is_no_pair_or_no_gpt_image_model_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match=r"deployment|model"):
        parse_deployments([pair])
