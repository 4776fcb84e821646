"""Content Credentials: signs each picture with c2pa-python, with a manifest modelled after what Azure embeds.

Azure's manifests, as decoded by others: claim generator "Microsoft Responsible AI Provenance", action `c2pa.created`
with software agent "Azure OpenAI ImageGen", digital source type trainedAlgorithmicMedia, description "Generated with
AI". The certificate is the server's own (`certificates.py`). A source with a manifest becomes an
ingredient of its edit.
"""

from __future__ import annotations

import datetime
import io
from functools import cache
from pathlib import Path
from typing import BinaryIO

import c2pa

from local.model.behaviour import EXTENDED_KEY_USAGES
from local.model.certificates import SigningCertificate, signing_certificate
from local.model.sources import Source

_CLAIM_GENERATOR = {"name": "Microsoft Responsible AI Provenance", "version": "1.0"}
_SOFTWARE_AGENT = {"name": "Azure OpenAI ImageGen"}
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


class ImageSigner:
    """Signs PNG, JPEG and WebP. Safe to use from several threads: every signature has its own c2pa objects."""

    def __init__(self, state_dir: Path) -> None:
        self._certificates: dict[str, SigningCertificate] = {
            name: signing_certificate(state_dir, name, usage) for name, usage in EXTENDED_KEY_USAGES.items()
        }
        self._context_for = cache(self._context)

    def sign(self, content: bytes, content_type: str, eku: str, title: str, sources: list[Source]) -> bytes:
        """`content` with a manifest embedded, signed with the certificate of the key usage named `eku`."""
        certificate = self._certificates[eku]
        ingredients = [source for source in sources if self._has_manifest(source)]
        with c2pa.Builder(self._manifest(title, len(ingredients)), self._context_for(eku)) as builder:
            for number, source in enumerate(ingredients):
                builder.add_ingredient(
                    {"title": f"source {number}", "relationship": "inputTo", "label": f"source-{number}"},
                    source.content_type,
                    _rewound(source.file),
                )
            signer = c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(
                    alg=c2pa.C2paSigningAlg.ES256,
                    sign_cert=certificate.chain.encode(),
                    private_key=certificate.private_key,
                    ta_url=None,
                )
            )
            signed = io.BytesIO()
            with signer:
                builder.sign(signer, content_type, io.BytesIO(content), signed)
        for source in ingredients:
            _rewound(source.file)
        return signed.getvalue()

    def _has_manifest(self, source: Source) -> bool:
        try:
            reader = c2pa.Reader.try_create(source.content_type, _rewound(source.file))
        except c2pa.C2paError:
            return False
        finally:
            _rewound(source.file)
        if reader is None:
            return False
        reader.close()
        return True

    def _context(self, eku: str) -> c2pa.Context:
        """Reads and signs offline; a key usage outside c2pa's defaults must be listed even to sign with it."""
        return c2pa.Context.from_dict(
            {
                "trust": {
                    "user_anchors": self._certificates[eku].authority,
                    "trust_config": "\n".join(EXTENDED_KEY_USAGES.values()),
                },
                "verify": {"remote_manifest_fetch": False, "verify_after_sign": False},
                "builder": {"thumbnail": {"enabled": False}},
            }
        )

    def _manifest(self, title: str, ingredients: int) -> dict[str, object]:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        created: dict[str, object] = {
            "action": "c2pa.created",
            "when": now,
            "softwareAgent": _SOFTWARE_AGENT,
            "digitalSourceType": _SOURCE_TYPE,
            "description": "Generated with AI",
        }
        if ingredients:
            created["parameters"] = {"ingredientIds": [f"source-{number}" for number in range(ingredients)]}
        return {
            "claim_generator_info": [_CLAIM_GENERATOR],
            "title": title,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
