"""Where an image says it comes from: its C2PA manifest, read and validated; the result writer comes in by `inspect`.

Nothing is fetched and nothing is judged: a state, the raw codes it rests on, and the whole manifest for the sidecar.
`invalid` is not `forged`. A genuine image reads so when its certificate has since expired, when it carries an assertion
that this version of the library does not know, or when someone saved it again.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from shared.platform import pem
from shared.settings import settings

if TYPE_CHECKING:
    import c2pa

EXTENDED_KEY_USAGES: Final = (
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing: OpenAI
    "1.3.6.1.5.5.7.3.36",  # document signing, RFC 9336: OpenAI
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's own for C2PA
    "1.3.6.1.5.5.7.3.4",  # e-mail protection, the only one c2pa-python takes unasked
)
"""What a signer's certificate may be for (the C2PA trust model's list, and what the vendors in fact use)."""

UNREADABLE: Final = "darkroom.unreadable"
"""Our own code: the file announces a manifest of which the library could make nothing."""

_STATES: Final = {"Trusted": "trusted", "Valid": "valid", "Invalid": "invalid"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """`state` is `trusted`, `valid`, `invalid` or `none`; `codes` are C2PA's failure and informational codes, raw."""

    state: str
    codes: tuple[str, ...] = ()
    issuer: str | None = None
    common_name: str | None = None
    claim_generator: str | None = None
    digital_source_type: str | None = None
    software_agent: str | None = None
    manifest: dict[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """The `provenance` member of an image in the job document."""
        return {"state": self.state, "issuer": self.issuer}

    def to_dict(self) -> dict[str, Any]:
        """The `provenance` member of a sidecar; `manifest` is the library's whole manifest store."""
        return {
            "state": self.state,
            "codes": [*self.codes],
            "issuer": self.issuer,
            "common_name": self.common_name,
            "claim_generator": self.claim_generator,
            "digital_source_type": self.digital_source_type,
            "software_agent": self.software_agent,
            "manifest": self.manifest,
        }


def inspect(stream: BinaryIO, content_type: str) -> Provenance:
    """The provenance of the image in `stream` (seekable, at its start). Blocks: call it in a worker thread.

    Never raises for what is in the image, which has been paid for: what cannot be read is `invalid` with a code.
    """
    import c2pa  # the native library is loaded with the first image, not with the app

    try:
        reader = c2pa.Reader.try_create(content_type, stream, context=_context(settings().c2pa_trust_anchors))
        if reader is None:
            return Provenance("none")
        with reader:
            return _read(json.loads(reader.json()))
    except Exception as error:  # noqa: BLE001 - the library raises many kinds for bytes from outside
        return Provenance("invalid", codes=(UNREADABLE, *_code_of(error)))


@cache
def _context(trust_anchors: str | None) -> c2pa.Context:
    import c2pa

    trust: dict[str, Any] = {"trust_config": "\n".join(EXTENDED_KEY_USAGES)}
    anchors = _anchors(trust_anchors)
    if anchors:
        trust["user_anchors"] = anchors
    return c2pa.Context.from_dict(
        {
            "trust": trust,
            # An image must not be able to make the app fetch an address; OCSP would be another such way.
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
        }
    )


def trust_anchors_problem(setting: str | None) -> str | None:
    """What is wrong with `C2PA_TRUST_ANCHORS`, as a sentence for the health page, or None."""
    if setting and _anchors(setting) is None:
        return "C2PA_TRUST_ANCHORS is neither PEM certificates nor the path of a file of them; no signer is trusted."
    return None


def _anchors(setting: str | None) -> str | None:
    """The trust list as PEM. What is no list of certificates is left out, since with it the library could not read any
    image."""
    if not setting:
        return None
    try:
        text = pem.read(setting)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.encode("ascii", "ignore").decode())
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return None
    return text


def _read(store: dict[str, Any]) -> Provenance:
    active = store.get("manifests", {}).get(store.get("active_manifest")) or {}
    signature = active.get("signature_info") or {}
    created = _created_action(active)
    return Provenance(
        state=_STATES.get(str(store.get("validation_state")), "invalid"),
        codes=tuple(_codes(store)),
        issuer=signature.get("issuer"),
        common_name=signature.get("common_name"),
        claim_generator=_claim_generator(active),
        digital_source_type=_text(created.get("digitalSourceType")),
        software_agent=_name(created.get("softwareAgent")),
        manifest=store,
    )


def _codes(store: dict[str, Any]) -> Iterator[str]:
    active = (store.get("validation_results") or {}).get("activeManifest") or {}
    for kind in ("failure", "informational"):
        for status in active.get(kind) or ():
            yield str(status.get("code"))


def _created_action(manifest: dict[str, Any]) -> dict[str, Any]:
    """The action that says how the image came to be: the first with a source type, else the first of all."""
    actions = [
        action
        for assertion in manifest.get("assertions") or ()
        if str(assertion.get("label")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions") or ()
    ]
    return next((action for action in actions if action.get("digitalSourceType")), actions[0] if actions else {})


def _claim_generator(manifest: dict[str, Any]) -> str | None:
    """The product that made the claim: one string in version 1 of claims, a list of products in version 2."""
    products = manifest.get("claim_generator_info") or ()
    if isinstance(products, dict):
        products = (products,)
    for product in products:
        name, version = _text(product.get("name")), _text(product.get("version"))
        if name:
            return f"{name} {version}" if version else name
    return _text(manifest.get("claim_generator"))


def _name(agent: Any) -> str | None:
    return _text(agent.get("name")) if isinstance(agent, dict) else _text(agent)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _code_of(error: Exception) -> tuple[str, ...]:
    """The library's own kind of error as a code; its message may quote the file and is left out."""
    return (f"darkroom.{type(error).__name__.lstrip('_')}",)
