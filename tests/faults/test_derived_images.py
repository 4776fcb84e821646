"""Images that are made of the model's: sizes it does not have, and edits that keep every pixel outside their mask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from functions import images, jobs
from local.certificates import Certificates
from local.key_vault import KeyVault
from shared.delivery import signing
from shared.delivery.incoming import IncomingImage
from shared.delivery.results import ResultWriter
from shared.errors import DarkroomError
from shared.images.composite import FEATHER
from shared.jobs.files import JobFiles
from shared.jobs.job import Job
from shared.pipeline import accept, cancel, derived, estimates, purge, read, results
from shared.pipeline.rooms import rooms
from shared.platform import key_vault
from tests.support.app_in_process import CALLER, TAKE_OVER_SECONDS, App, deployment
from tests.support.doors import call
from tests.support.photographs import SIDE, mask, photograph
from tests.support.vault import Served, issued, serving

Configure = Callable[..., None]
SOURCE = {"data": base64.b64encode(photograph("JPEG")).decode()}
MASK = {"data": base64.b64encode(mask()).decode()}
EXACT = {"images": [SOURCE], "mask": MASK, "preserve": "exact"}
HOLE = (SIDE // 4, SIDE // 4, SIDE * 3 // 4 + 1, SIDE * 3 // 4 + 1)


@pytest.fixture
def fitting(app: App, configure: Configure) -> App:
    """The app, which fits images to sizes that the model does not have; it has nothing to sign with."""
    configure([deployment(app.model.url)], SIZE_FIT="contain")
    return app


@pytest.fixture(scope="module")
def vault(certificates: Certificates) -> Iterator[Served]:
    signer = issued()
    with serving(KeyVault(signer.certificate, signer.key), certificates) as served:
        yield served


@pytest.fixture
def signed(app: App, configure: Configure, vault: Served) -> App:
    """The app, which signs what it derives, and derives nothing that is not signed."""
    vault.vault.faults = []
    configure(
        [deployment(app.model.url)],
        SIZE_FIT="cover",
        REQUIRE_PROVENANCE="1",
        SIGNING_CERTIFICATE=vault.identifier,
        ALLOW_PRIVATE_NETWORKS="1",
    )
    return app


def rgba(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA")


def assert_the_models_own(app: App, image: dict[str, Any]) -> None:
    """The stored original is what the model sent, to the byte."""
    (called,) = app.model.calls()
    stored = app.storage.read(image["blob"])
    assert hashlib.sha256(stored).hexdigest() == image["sha256"] == called["images"][image["index"]]["sha256"]
    assert image["provenance"]["state"] == "valid"


def sidecar_of(app: App, blob: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(app.storage.read(f"{blob.rpartition('.')[0]}.json"))
    return found


# -- sizes -------------------------------------------------------------------------------------------------------------


async def test_a_size_the_model_does_not_have_is_made_beside_its_own_image(fitting: App) -> None:
    job = await fitting.run(size="400x300", n=2, metadata={"order": "1"})

    document = await fitting.document(job.id)
    assert document["status"] == "succeeded"
    assert document["adapted"] == [{"field": "size", "from": "400x300", "to": "1536x1024", "how": "contain"}]
    assert (document["request"]["size"], document["request"]["fitted_size"]) == ("1536x1024", "400x300")
    assert len(document["images"]) == 2
    for image in document["images"]:
        assert (image["width"], image["height"]) == (1536, 1024)
        assert_the_models_own(fitting, image)
        (made,) = image["derived"]
        stored = fitting.storage.read(made["blob"])
        assert (made["width"], made["height"], made["how"]) == (400, 300, "contain")
        assert (made["bytes"], made["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
        assert made["content_type"] == image["content_type"] == "image/png"
        assert made["provenance"] == {"state": "none", "issuer": None}
        assert rgba(stored).size == (400, 300)
        assert made["blob"] in made["url"]
        assert "sig=" in made["url"]
        container, _, name = made["blob"].partition("/")
        properties = fitting.storage.container(container).get_blob_client(name).get_blob_properties()
        assert properties.metadata["size"] == "400x300"
        assert properties.metadata["derived"] == "contain"
        assert properties.metadata["darkroom_metadata"]
        told = sidecar_of(fitting, made["blob"])
        assert (told["of"], told["sha256"], told["index"]) == (image["blob"], made["sha256"], image["index"])
        assert sidecar_of(fitting, image["blob"])["derived"][0]["blob"] == made["blob"]


async def test_the_synchronous_answer_holds_what_was_asked_for(fitting: App) -> None:
    fields = {"prompt": "a lighthouse", "quality": "low", "size": "300x300", "output_format": "jpeg"}
    answer = await post(images.image_generations_v1, **fields)

    body = json.loads(answer)
    picture = base64.b64decode(body["data"][0]["b64_json"])
    assert (Image.open(io.BytesIO(picture)).format, rgba(picture).size) == ("JPEG", (300, 300))
    assert body["size"] == "300x300"
    assert body["darkroom"] == {"adapted": [{"field": "size", "from": "300x300", "to": "1024x1024", "how": "contain"}]}

    linked = json.loads(await post(images.image_generations_v1, **fields, response_format="url"))
    assert ".contain-300x300-" in linked["data"][0]["url"]


async def test_old_square_sizes_and_the_wide_ones_are_made_exactly(fitting: App) -> None:
    for size in ("256x256", "1792x1024"):
        job = await fitting.run(size=size)
        ((made,),) = [image["derived"] for image in (await fitting.document(job.id))["images"]]
        assert f"{made['width']}x{made['height']}" == size


async def test_a_size_the_model_has_is_passed_on_as_ever(fitting: App) -> None:
    job = await fitting.run(size="1024x1536")
    document = await fitting.document(job.id)
    assert document["adapted"] == []
    assert document["images"][0]["derived"] == []
    assert fitting.storage.results_of(job.id) == ["0.json", "0.png"]


async def test_an_estimate_counts_the_size_that_is_made(fitting: App) -> None:
    asked = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", "size": "512x512"})
    own = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", "size": "1024x1024"})
    assert asked["cost"] == own["cost"]
    assert asked["request"]["size"] == "1024x1024"
    assert asked["adapted"][0]["from"] == "512x512"
    exact = await estimates.estimate({"prompt": "a lighthouse", "quality": "low", **EXACT})
    assert exact["request"]["size"] == "1024x1024"


# -- exact masks -------------------------------------------------------------------------------------------------------


async def test_an_exact_edit_keeps_the_source_outside_its_mask_and_says_so_in_its_chain(signed: App) -> None:
    job = await signed.run(**EXACT)

    document = await signed.document(job.id)
    assert document["status"] == "succeeded", document["error"]
    (image,) = document["images"]
    assert_the_models_own(signed, image)
    (made,) = image["derived"]
    assert (made["how"], made["content_type"]) == ("preserve", "image/png")
    assert made["provenance"]["state"] == "valid"

    picture, source = rgba(signed.storage.read(made["blob"])), rgba(photograph("JPEG"))
    edit = rgba(signed.storage.read(image["blob"])).resize(source.size, Image.Resampling.LANCZOS)
    assert (image["width"], picture.size) == (1024, (SIDE, SIDE))
    inner = (HOLE[0] + FEATHER, HOLE[1] + FEATHER, HOLE[2] - FEATHER, HOLE[3] - FEATHER)
    outside = picture.copy()
    for picked in (outside, source):
        picked.paste((0, 0, 0, 0), HOLE)
    assert outside.tobytes() == source.tobytes()
    differences = zip(picture.crop(inner).tobytes(), edit.crop(inner).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in differences) <= 1

    provenance = sidecar_of(signed, made["blob"])["provenance"]
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


async def test_a_fitted_image_is_signed_with_the_models_as_its_parent(signed: App) -> None:
    job = await signed.run(size="640x480", output_format="jpeg")
    (image,) = (await signed.document(job.id))["images"]
    (made,) = image["derived"]
    assert (made["content_type"], made["how"], made["provenance"]["state"]) == ("image/jpeg", "cover", "valid")
    store = sidecar_of(signed, made["blob"])["provenance"]["manifest"]
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
    assert (refused.value.code, refused.value.param) == ("invalid_image", "image")
    assert app.storage.live_jobs() == set()


# -- signatures that cannot be had -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "param"), [({"size": "512x512"}, "size"), (EXACT, "preserve")])
async def test_without_an_identity_nothing_is_derived_where_provenance_is_required(
    app: App, configure: Configure, fields: dict[str, Any], param: str
) -> None:
    configure([deployment(app.model.url)], SIZE_FIT="cover", REQUIRE_PROVENANCE="1")
    with pytest.raises(DarkroomError, match="REQUIRE_PROVENANCE") as refused:
        await app.submit(**fields)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)
    assert (await app.run()).status == "succeeded", "what is not derived needs no identity"


async def test_an_identity_that_goes_while_a_job_waits_leaves_nothing_unsigned(
    signed: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await signed.submit(size="512x512")
    monkeypatch.setattr(signing, "configured", lambda: False)
    await assert_failed_with_its_images(signed, await signed.deliver(job_id), "unsupported_parameter")


async def test_a_vault_that_is_away_refuses_the_request_before_anything_is_paid(
    signed: App, vault: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_vault, "_TRIES", 1)
    vault.fail(503)
    with pytest.raises(DarkroomError) as refused:
        await signed.submit(size="512x512")
    assert (refused.value.code, refused.value.status) == ("signing_unavailable", 503)
    assert signed.model.calls() == []


async def test_a_vault_that_comes_back_is_waited_for(
    signed: App, vault: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_vault, "_TRIES", 1)
    monkeypatch.setattr(derived, "_PAUSES", (0.0, 0.0))
    job_id = await signed.submit(size="512x512")
    vault.fail(503)
    job = await signed.deliver(job_id)
    assert job.status == "succeeded"
    (image,) = (await signed.document(job_id))["images"]
    assert image["derived"][0]["provenance"]["state"] == "valid"


async def test_a_signature_that_cannot_be_had_fails_the_job_and_keeps_what_was_paid(
    signed: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sign(*_: Any, **__: Any) -> bytes:
        raise DarkroomError("misconfigured", "SIGNING_CERTIFICATE: the certificate is disabled in the vault.")

    monkeypatch.setattr(signing, "sign", sign)
    job = await signed.run(size="512x512")
    await assert_failed_with_its_images(signed, job, "misconfigured")


# -- failures after the call -------------------------------------------------------------------------------------------


async def assert_failed_with_its_images(app: App, job: Job, inner: str) -> None:
    document = await app.document(job.id)
    assert (document["status"], document["error"]["code"]) == ("failed", "derivation_failed")
    assert document["error"]["inner_error"] == {"code": inner}
    (image,) = document["images"]
    assert image["derived"] == []
    assert_the_models_own(app, image)
    assert document["cost"]["amount"] is not None
    assert app.storage.outcomes(job.id) == ["billed"]
    await app.deliver(job.id)
    assert len(app.model.calls()) == 1, "it is not asked for again"


async def test_an_image_that_cannot_be_made_fails_the_job_and_keeps_what_was_paid(
    fitting: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(derived, "_compose", broken)
    job = await fitting.run(size="512x512")
    await assert_failed_with_its_images(fitting, job, "internal_error")


async def test_a_synchronous_caller_is_told_not_to_ask_again(fitting: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(derived, "_compose", broken)
    body = json.dumps({"prompt": "a lighthouse", "quality": "low", "size": "512x512"}).encode()
    answer = await call(images.image_generations_v1, body, headers={"content-type": "application/json"})
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert json.loads(bytes(answer.body))["error"]["code"] == "derivation_failed"


class DiedError(BaseException):
    """The process is gone: nothing runs after it."""


@pytest.mark.parametrize(("place", "name"), [(IncomingImage, "store"), (derived, "_sources"), (JobFiles, "put_result")])
async def test_a_successor_makes_what_a_dead_runner_did_not_and_pays_nothing(
    fitting: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    """Death is an exception nothing catches, once the answer is stored and accounted."""
    job_id = await fitting.submit(size="512x512")
    alive = getattr(place, name)
    with monkeypatch.context() as patch:

        async def complete(*arguments: Any) -> Any:
            def die(*_: Any, **__: Any) -> Any:
                raise DiedError

            patch.setattr(place, name, die)
            return await derived_complete(*arguments)

        derived_complete = derived.complete
        patch.setattr(derived, "complete", complete)
        with pytest.raises(DiedError):
            await fitting.deliver(job_id)
    assert getattr(place, name) == alive
    assert fitting.storage.outcomes(job_id) == ["billed"]

    await fitting.put_clock_forward(TAKE_OVER_SECONDS)
    assert (await fitting.deliver(job_id)).status == "succeeded"

    (image,) = (await fitting.document(job_id))["images"]
    (made,) = image["derived"]
    assert rgba(fitting.storage.read(made["blob"])).size == (512, 512)
    assert_the_models_own(fitting, image)
    assert fitting.storage.outcomes(job_id) == ["billed"]


async def test_a_successor_ends_a_job_as_its_dead_runner_had_written(
    fitting: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await fitting.submit(size="512x512")
    with monkeypatch.context() as patch:

        def broken(*_: Any, **__: Any) -> bytes:
            raise MemoryError

        async def die(*_: Any, **__: Any) -> None:
            raise DiedError

        patch.setattr(derived, "_compose", broken)
        patch.setattr(results, "write_sidecars", die)
        with pytest.raises(DiedError):
            await fitting.deliver(job_id)
    await fitting.put_clock_forward(TAKE_OVER_SECONDS)
    await assert_failed_with_its_images(fitting, await fitting.deliver(job_id), "internal_error")


async def test_a_canceled_job_has_nothing_made_of_its_images(fitting: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await fitting.submit(size="512x512")
    finish = ResultWriter.finish

    async def finish_and_cancel(self: ResultWriter) -> Any:
        await cancel.cancel(await fitting.job(job_id))
        return await finish(self)

    monkeypatch.setattr(ResultWriter, "finish", finish_and_cancel)
    assert (await fitting.deliver(job_id)).status == "canceled"
    (image,) = (await fitting.document(job_id))["images"]
    assert image["derived"] == []
    assert_the_models_own(fitting, image)


# -- afterwards --------------------------------------------------------------------------------------------------------


async def post(function: Any, **fields: Any) -> bytes:
    answer = await call(function, json.dumps(fields).encode(), headers={"content-type": "application/json"})
    return await _body(answer)


async def _body(answer: Any) -> bytes:
    if not hasattr(answer, "body_iterator"):
        return bytes(answer.body)
    return b"".join([piece async for piece in answer.body_iterator])


async def test_the_derived_image_and_its_sidecar_are_read_beside_the_original(fitting: App) -> None:
    job = await fitting.run(size="320x240")
    (image,) = (await fitting.document(job.id))["images"]
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


async def test_a_purge_removes_what_was_derived(fitting: App) -> None:
    job = await fitting.run(size="320x240")
    assert len(fitting.storage.results_of(job.id)) == 4
    await purge.purge(await fitting.job(job.id))
    assert fitting.storage.results_of(job.id) == []


async def test_an_event_names_the_derived_image_without_a_signature(fitting: App) -> None:
    job = await fitting.run(size="320x240")
    document = await read.document(await rooms(), job)
    (made,) = document["images"][0]["derived"]
    assert made["url"].endswith(made["blob"])


async def test_many_at_once_are_made_one_after_the_other(fitting: App, monkeypatch: pytest.MonkeyPatch) -> None:
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
    waiting = [await fitting.submit(size="320x240") for _ in range(3)]
    done = await asyncio.gather(*(fitting.deliver(job) for job in waiting))
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
