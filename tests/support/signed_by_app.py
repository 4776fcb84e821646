"""Derived images signed by the app, and what is read out of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from shared.delivery import provenance, signing
from shared.errors import DarkroomError
from tests.support.signing import picture, vendor
from tests.support.vault import Served

IDENTITY_HEADER = "the-identitys-secret"

type Use = Callable[..., Served]


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
    found = provenance.inspect(io.BytesIO(signed.image), content_type)
    assert signed.provenance == found
    return found


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
