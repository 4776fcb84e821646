"""Images that are made of the model's: sizes it does not have, and edits that keep every pixel outside their mask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from typing import Any

import pytest
from PIL import Image

from functions import images, jobs
from shared.errors import DarkroomError
from shared.images.composite import FEATHER
from shared.pipeline import accept, derived, estimates, purge, read
from shared.pipeline.rooms import rooms
from tests.support.app_in_process import CALLER, App
from tests.support.deriving import EXACT, SOURCE, assert_the_models_own, rgba, sidecar_of
from tests.support.doors import call
from tests.support.photographs import SIDE, photograph
from tests.support.schemas import fits

HOLE = (SIDE // 4, SIDE // 4, SIDE * 3 // 4 + 1, SIDE * 3 // 4 + 1)


# -- sizes -------------------------------------------------------------------------------------------------------------


async def test_a_size_the_model_does_not_have_is_made_beside_its_own_image(fitting_app: App) -> None:
    job = await fitting_app.run(size="400x300", n=2, metadata={"order": "1"})

    document = await fitting_app.document(job.id)
    assert document["status"] == "succeeded"
    assert document["adapted"] == [{"field": "size", "from": "400x300", "to": "1536x1024", "how": "contain"}]
    assert (document["request"]["size"], document["request"]["fitted_size"]) == ("1536x1024", "400x300")
    assert len(document["images"]) == 2
    for image in document["images"]:
        assert (image["width"], image["height"]) == (1536, 1024)
        assert_the_models_own(fitting_app, image)
        (made,) = image["derived"]
        stored = fitting_app.storage.read(made["blob"])
        assert (made["width"], made["height"], made["how"]) == (400, 300, "contain")
        assert (made["bytes"], made["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
        assert made["content_type"] == image["content_type"] == "image/png"
        assert made["provenance"] == {"state": "none", "issuer": None}
        assert rgba(stored).size == (400, 300)
        assert made["blob"] in made["url"]
        assert "sig=" in made["url"]
        container, _, name = made["blob"].partition("/")
        properties = fitting_app.storage.container(container).get_blob_client(name).get_blob_properties()
        assert properties.metadata["size"] == "400x300"
        assert properties.metadata["derived"] == "contain"
        assert properties.metadata["darkroom_metadata"]
        told = sidecar_of(fitting_app, made["blob"])
        assert (told["of"], told["sha256"], told["index"]) == (image["blob"], made["sha256"], image["index"])
        original = sidecar_of(fitting_app, image["blob"])
        assert original["derived"][0]["blob"] == made["blob"]
        assert fits("Provenance", told)
        assert fits("Provenance", original)
    assert fits("Job", document)


async def test_the_synchronous_answer_holds_what_was_asked_for(fitting_app: App) -> None:
    fields = {"prompt": "a lighthouse", "quality": "low", "size": "300x300", "output_format": "jpeg"}
    answer = await post(images.image_generations_v1, **fields)

    body = json.loads(answer)
    picture = base64.b64decode(body["data"][0]["b64_json"])
    assert (Image.open(io.BytesIO(picture)).format, rgba(picture).size) == ("JPEG", (300, 300))
    assert body["size"] == "300x300"
    assert body["darkroom"] == {"adapted": [{"field": "size", "from": "300x300", "to": "1024x1024", "how": "contain"}]}

    linked = json.loads(await post(images.image_generations_v1, **fields, response_format="url"))
    assert ".contain-300x300-" in linked["data"][0]["url"]


async def test_old_square_sizes_and_the_wide_ones_are_made_exactly(fitting_app: App) -> None:
    for size in ("256x256", "1792x1024"):
        job = await fitting_app.run(size=size)
        ((made,),) = [image["derived"] for image in (await fitting_app.document(job.id))["images"]]
        assert f"{made['width']}x{made['height']}" == size


async def test_a_size_the_model_has_is_passed_on_as_ever(fitting_app: App) -> None:
    job = await fitting_app.run(size="1024x1536")
    document = await fitting_app.document(job.id)
    assert document["adapted"] == []
    assert document["images"][0]["derived"] == []
    assert fitting_app.storage.results_of(job.id) == ["0.json", "0.png"]


async def test_an_estimate_counts_the_size_that_is_made(fitting_app: App) -> None:
    asked = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", "size": "512x512"})
    own = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", "size": "1024x1024"})
    assert asked["cost"] == own["cost"]
    assert asked["request"]["size"] == "1024x1024"
    assert asked["adapted"][0]["from"] == "512x512"
    exact = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", **EXACT})
    assert exact["request"]["size"] == "1024x1024"


# -- exact masks -------------------------------------------------------------------------------------------------------


async def test_an_exact_edit_keeps_the_source_outside_its_mask_and_says_so_in_its_chain(signing_app: App) -> None:
    job = await signing_app.run(**EXACT)

    document = await signing_app.document(job.id)
    assert document["status"] == "succeeded", document["error"]
    (image,) = document["images"]
    assert_the_models_own(signing_app, image)
    (made,) = image["derived"]
    assert (made["how"], made["content_type"]) == ("preserve", "image/png")
    assert made["provenance"]["state"] == "valid"

    picture, source = rgba(signing_app.storage.read(made["blob"])), rgba(photograph("JPEG"))
    edit = rgba(signing_app.storage.read(image["blob"])).resize(source.size, Image.Resampling.LANCZOS)
    assert (image["width"], picture.size) == (1024, (SIDE, SIDE))
    inner = (HOLE[0] + FEATHER, HOLE[1] + FEATHER, HOLE[2] - FEATHER, HOLE[3] - FEATHER)
    outside = picture.copy()
    for picked in (outside, source):
        picked.paste((0, 0, 0, 0), HOLE)
    assert outside.tobytes() == source.tobytes()
    differences = zip(picture.crop(inner).tobytes(), edit.crop(inner).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in differences) <= 1

    provenance = sidecar_of(signing_app, made["blob"])["provenance"]
    store = provenance["manifest"]
    active = store["manifests"][store["active_manifest"]]
    parent, component = active["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert parent["active_manifest"] in store["manifests"], "the model's own manifest is in the chain"
    assert component["relationship"] == "componentOf"
    actions = [
        action["action"]
        for assertion in active["assertions"]
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]
    assert actions == ["c2pa.opened", "c2pa.placed", "c2pa.edited"]
    assert "lighthouse" not in json.dumps(store)


async def test_boxes_preserve_as_a_mask_does(app: App) -> None:
    boxes = [{"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}]
    job = await app.run(images=[SOURCE], boxes=boxes, preserve="exact")
    (image,) = (await app.document(job.id))["images"]
    picture, source = rgba(app.storage.read(image["derived"][0]["blob"])), rgba(photograph("JPEG"))
    assert picture.crop((0, 0, SIDE, SIDE // 4)).tobytes() == source.crop((0, 0, SIDE, SIDE // 4)).tobytes()
    assert picture.crop((80, 80, 160, 160)).tobytes() != source.crop((80, 80, 160, 160)).tobytes()


async def test_a_fitted_image_is_signed_with_the_models_as_its_parent(signing_app: App) -> None:
    job = await signing_app.run(size="640x480", output_format="jpeg")
    (image,) = (await signing_app.document(job.id))["images"]
    (made,) = image["derived"]
    assert (made["content_type"], made["how"], made["provenance"]["state"]) == ("image/jpeg", "cover", "valid")
    store = sidecar_of(signing_app, made["blob"])["provenance"]["manifest"]
    (parent,) = store["manifests"][store["active_manifest"]]["ingredients"]
    assert parent["relationship"] == "parentOf"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"images": [SOURCE], "preserve": "exact"}, "invalid_value", "preserve"),
        ({**EXACT, "size": "512x512"}, "invalid_value", "size"),
        ({**EXACT, "size": "1536x1024"}, "invalid_value", "preserve"),
        ({**EXACT, "stream": True}, "unsupported_parameter", "stream"),
    ],
)
async def test_what_cannot_be_preserved_is_refused_before_anything_is_paid(
    app: App, fields: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(DarkroomError) as refused:
        await app.submit(**fields)
    assert (refused.value.code, refused.value.param, refused.value.status) == (code, param, 400)
    assert app.model.calls() == []


async def test_a_source_that_cannot_be_preserved_is_refused_before_anything_is_paid(app: App) -> None:
    stream = io.BytesIO()
    Image.new("CMYK", (SIDE, SIDE)).save(stream, "JPEG")
    cmyk = {"data": base64.b64encode(stream.getvalue()).decode()}
    with pytest.raises(DarkroomError, match="CMYK") as refused:
        await app.submit(**{**EXACT, "images": [cmyk]})
    assert (refused.value.code, refused.value.param) == ("invalid_image", "images[0].data")
    assert app.storage.live_jobs() == set()


# -- afterwards --------------------------------------------------------------------------------------------------------


async def post(function: Any, **fields: Any) -> bytes:
    answer = await call(function, json.dumps(fields).encode(), headers={"content-type": "application/json"})
    return await _body(answer)


async def _body(answer: Any) -> bytes:
    if not hasattr(answer, "body_iterator"):
        return bytes(answer.body)
    return b"".join([piece async for piece in answer.body_iterator])


async def test_the_derived_image_and_its_sidecar_are_read_beside_the_original(fitting_app: App) -> None:
    job = await fitting_app.run(size="320x240")
    (image,) = (await fitting_app.document(job.id))["images"]
    (made,) = image["derived"]
    where = {"job": job.id, "index": "0"}

    original = await call(jobs.get_image, method="GET", path_params=where)
    other = await call(jobs.get_image, method="GET", path_params=where, query={"derived": "0"})
    assert hashlib.sha256(await _body(original)).hexdigest() == image["sha256"]
    assert hashlib.sha256(await _body(other)).hexdigest() == made["sha256"]
    assert other.headers["etag"] == f'"{made["sha256"]}"'

    told = await call(jobs.get_provenance, method="GET", path_params=where, query={"derived": "0"})
    assert json.loads(await _body(told))["of"] == image["blob"]

    for wrong in ("1", "x", "-1", ""):
        answer = await call(jobs.get_image, method="GET", path_params=where, query={"derived": wrong})
        assert answer.status_code == 404, wrong
        assert json.loads(bytes(answer.body))["error"]["param"] == "derived"


async def test_a_purge_removes_what_was_derived(fitting_app: App) -> None:
    job = await fitting_app.run(size="320x240")
    assert len(fitting_app.storage.results_of(job.id)) == 4
    await purge.purge(await fitting_app.job(job.id))
    assert fitting_app.storage.results_of(job.id) == []


async def test_an_event_names_the_derived_image_without_a_signature(fitting_app: App) -> None:
    job = await fitting_app.run(size="320x240")
    document = await read.document(await rooms(), job)
    (made,) = document["images"][0]["derived"]
    assert made["url"].endswith(made["blob"])


async def test_many_at_once_are_made_one_after_the_other(fitting_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = [0, 0]
    make = derived._in_thread

    async def counted(*arguments: Any) -> Any:
        at_once[0] += 1
        at_once[1] = max(at_once)
        try:
            return await make(*arguments)
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(derived, "_in_thread", counted)
    waiting = [await fitting_app.submit(size="320x240") for _ in range(3)]
    done = await asyncio.gather(*(fitting_app.deliver(job) for job in waiting))
    assert {job.status for job in done} == {"succeeded"}
    assert at_once[1] == 1


async def test_a_repeat_with_the_same_fields_is_the_same_request_whatever_size_its_source_asked_for(app: App) -> None:
    hashes = set()
    for fields in (EXACT, {**EXACT, "size": "auto"}, {**EXACT, "size": f"{SIDE}x{SIDE}"}):
        intake = await accept.intake()
        request = {"prompt": "a lighthouse", **fields}
        hashes.add((await accept.understand(intake, CALLER, request, kind="edit")).content_hash())
        await intake.discard()
    assert len(hashes) == 1
