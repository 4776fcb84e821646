"""A C2PA claim about a derived image, put into it: the part of signing that blocks; `signing` comes in by `embed`.

1. the ingredients are read, each with the manifest it carries
2. the claim is made and signed, by whoever signs
3. the image is read again: what leaves here is valid

Facts about the library (c2pa-python 0.38.1, tried): an ingredient whose manifest is sound but whose pixels were changed
is taken and the finding written down; one whose manifest is damaged makes `add_ingredient` raise.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from shared.delivery import provenance
from shared.delivery.pieces import reader
from shared.delivery.provenance import Provenance
from shared.errors import DarkroomError
from shared.platform.version import VERSION

if TYPE_CHECKING:
    import c2pa

_UNREAD: Final = "The manifest of this image could not be read."

type Image = bytes | Sequence[bytes]
"""An encoded image, whole or in pieces."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """An image that another was made from. `title` is shown to anybody who reads the manifest."""

    image: Image
    content_type: str
    title: str


@dataclass(frozen=True, slots=True)
class Signed:
    """An image with its claim, and what was read back of that."""

    image: bytes
    provenance: Provenance


class _UnreadableIngredientError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of an image: the first of `ingredients` is its parent, the others were placed into it.

    `sign` is called with the bytes to sign, in the thread that embeds; `chain` is PEM, the signer's own first.
    """

    chain: str
    algorithm: str
    sign: Callable[[bytes], bytes]
    title: str
    ingredients: Sequence[Ingredient]
    actions: Sequence[Mapping[str, Any]]

    def embed(self, image: Image, content_type: str) -> Signed:
        """`image` with this claim in it. Raises what `sign` raises, `misconfigured` when certificate and key are not of
        one another, `internal_error` when c2pa makes nothing of it."""
        bare: frozenset[int] = frozenset()
        while True:
            try:
                signed = self._signed(image, content_type, bare)
                break
            except _UnreadableIngredientError as unreadable:
                bare |= {unreadable.number}
        return Signed(signed, self._read_back(signed, content_type))

    def _signed(self, image: Image, content_type: str, bare: frozenset[int]) -> bytes:
        import c2pa

        failures: list[Exception] = []

        def callback(data: bytes) -> bytes:
            try:
                return self.sign(data)
            except Exception as error:  # noqa: BLE001 - raised again below: it cannot pass through native code
                failures.append(error)
                return b""

        signed = io.BytesIO()
        try:
            with c2pa.Builder(self._manifest(bare), _context()) as builder:
                self._add_ingredients(builder, bare)
                algorithm = c2pa.C2paSigningAlg[self.algorithm]
                with c2pa.Signer.from_callback(callback, algorithm, self.chain) as signer:
                    builder.sign(signer, content_type, _opened(image), signed)
        except c2pa.C2paError as error:
            if failures:
                raise failures[0] from None
            # Its message may quote the image; its kind does not.
            raise _failed(type(error).__name__.lstrip("_")) from None
        return signed.getvalue()

    def _add_ingredients(self, builder: c2pa.Builder, bare: frozenset[int]) -> None:
        import c2pa

        for number, ingredient in enumerate(self.ingredients):
            if number in bare:
                continue
            try:
                builder.add_ingredient(_entry(number, ingredient), ingredient.content_type, _opened(ingredient.image))
            except c2pa.C2paError:
                raise _UnreadableIngredientError(number) from None

    def _manifest(self, bare: frozenset[int]) -> dict[str, Any]:
        opening = [
            {"action": "c2pa.placed" if number else "c2pa.opened", "parameters": {"ingredientIds": [_label(number)]}}
            for number in range(len(self.ingredients))
        ]
        manifest: dict[str, Any] = {
            "claim_generator_info": [{"name": "Darkroom", "version": VERSION}],
            "title": self.title,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [*opening, *map(dict, self.actions)]}}],
        }
        if bare:
            manifest["ingredients"] = [
                {
                    **_entry(number, self.ingredients[number]),
                    "format": self.ingredients[number].content_type,
                    "instance_id": f"xmp.iid:{uuid.uuid4()}",
                    "description": _UNREAD,
                }
                for number in sorted(bare)
            ]
        return manifest

    def _read_back(self, signed: bytes, content_type: str) -> Provenance:
        found = provenance.inspect(io.BytesIO(signed), content_type)
        if "claimSignature.mismatch" in found.codes:
            raise DarkroomError(
                "misconfigured", "SIGNING_CERTIFICATE: the vault's key is not the one that the certificate is for."
            )
        if found.state not in ("valid", "trusted"):
            raise _failed(", ".join(found.codes) or found.state)
        return found


def _entry(number: int, ingredient: Ingredient) -> dict[str, Any]:
    relationship = "componentOf" if number else "parentOf"
    return {"title": ingredient.title, "relationship": relationship, "label": _label(number)}


def _label(number: int) -> str:
    return f"component-{number}" if number else "parent"


def _opened(image: Image) -> BinaryIO:
    return reader([image] if isinstance(image, bytes) else image)


def _failed(why: str) -> DarkroomError:
    return DarkroomError("internal_error", f"The derived image could not be signed ({why}).")


@cache
def _context() -> c2pa.Context:
    """Signs offline; what is read back is judged by `provenance`, with the operator's trust list."""
    import c2pa

    return c2pa.Context.from_dict(
        {
            # A key usage outside the library's defaults must be listed even to sign with it.
            "trust": {"trust_config": "\n".join(provenance.EXTENDED_KEY_USAGES)},
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
            "builder": {"thumbnail": {"enabled": False}},
        }
    )
