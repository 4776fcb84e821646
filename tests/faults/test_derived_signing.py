"""What is told of a signed image is what was read back when it was signed."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import pytest

from shared.delivery import provenance
from tests.support.app_in_process import App


async def test_a_manifest_is_read_once_of_each_image(signing_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[provenance.Provenance] = []
    inspect = provenance.inspect

    def noted(stream: BinaryIO, content_type: str) -> provenance.Provenance:
        found.append(inspect(stream, content_type))
        return found[-1]

    monkeypatch.setattr(provenance, "inspect", noted)
    job = await signing_app.run(size="512x512")
    (image,) = (await signing_app.document(job.id))["images"]
    (derived,) = image["derived"]

    models, signed = found
    assert (image["provenance"], derived["provenance"]) == (models.summary(), signed.summary())
    told: dict[str, Any] = json.loads(signing_app.storage.read(f"{derived['blob'].rpartition('.')[0]}.json"))
    assert told["provenance"] == signed.to_dict()
    assert signed.claim_generator is not None
    assert signed.claim_generator.startswith("Darkroom ")
