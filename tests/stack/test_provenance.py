"""What C2PA says of an image reaches the caller as it is: in the job, on the blob, in the sidecar, in the headers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from local.model.behaviour import EXTENDED_KEY_USAGES
from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.peers import blob
from tests.support.requests import generate, job


async def stored(app: httpx.AsyncClient, stack: StackInfo, **fields: Any) -> tuple[str, dict[str, Any]]:
    """State and sidecar's provenance of a generated image; every place that shows the state agrees."""
    answer = await generate(app, **fields)
    assert answer.status_code == 200, answer.text
    job_id = answer.headers["x-darkroom-job"]
    (image,) = (await job(app, job_id))["images"]
    state: str = image["provenance"]["state"]
    provenance: dict[str, Any] = (await app.get(f"/api/images/{job_id}/0/provenance")).json()["provenance"]
    assert blob(stack, image["blob"]).get_blob_properties().metadata["provenance"] == state
    assert image["provenance"] == {"state": provenance["state"], "issuer": provenance["issuer"]}
    return state, provenance


async def test_an_image_without_a_manifest_is_stored_and_says_so(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl
) -> None:
    model.behave(unsigned=True)

    state, provenance = await stored(app_client, stack)

    assert state == "none"
    assert provenance["codes"] == []
    assert {provenance[name] for name in ("issuer", "claim_generator", "manifest")} == {None}


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_an_image_that_was_changed_after_signing_is_invalid_with_the_raw_code(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, output_format: str
) -> None:
    model.fail({"tampered": True})

    state, provenance = await stored(app_client, stack, output_format=output_format)

    assert state == "invalid"
    assert "assertion.dataHash.mismatch" in provenance["codes"]
    failures = provenance["manifest"]["validation_results"]["activeManifest"]["failure"]
    assert "assertion.dataHash.mismatch" in {failure["code"] for failure in failures}
    assert provenance["issuer"] == "Local Image Server (test)"


@pytest.mark.parametrize("usage", sorted(EXTENDED_KEY_USAGES))
async def test_every_key_usage_that_vendors_sign_with_is_accepted(
    app_client: httpx.AsyncClient, stack: StackInfo, model: ModelControl, usage: str
) -> None:
    model.behave(eku=usage)

    state, provenance = await stored(app_client, stack)

    assert state == "trusted"
    assert provenance["manifest"]["validation_state"] == "Trusted"
    assert provenance["manifest"]["validation_results"]["activeManifest"]["failure"] == []


async def test_an_edit_of_a_signed_image_names_it_as_an_ingredient(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    first = await generate(app_client)
    source = (await job(app_client, first.headers["x-darkroom-job"]))["images"][0]["blob"]

    answer = await app_client.post(
        "/openai/v1/images/edits", json={"prompt": "a boat", "quality": "low", "images": [{"blob": source}]}
    )

    assert answer.status_code == 200, answer.text
    edited = await job(app_client, answer.headers["x-darkroom-job"])
    sidecar = (await app_client.get(f"/api/images/{edited['id']}/0/provenance")).json()
    store = sidecar["provenance"]["manifest"]
    ingredients = store["manifests"][store["active_manifest"]]["ingredients"]
    assert [ingredient["relationship"] for ingredient in ingredients] == ["inputTo"]
    assert ingredients[0]["active_manifest"] in store["manifests"]
    assert sidecar["provenance"]["state"] == "trusted"
