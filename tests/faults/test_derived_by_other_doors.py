"""Derived images asked for by a dropped folder or by a batch: made and stored beside the model's own, as by HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from shared.jobs.job import Job
from shared.pipeline import fan_out, uploads
from tests.support import batches
from tests.support.app_in_process import App
from tests.support.deriving import EXACT, rgba, sidecar_of
from tests.support.dropping import Folder
from tests.support.photographs import SIDE, mask, photograph

SOURCE = photograph("JPEG")
OUTSIDE = (0, 0, SIDE, SIDE // 4)
"""A part of the source that `mask()` keeps, and `INSIDE` one that it gives to the edit."""
INSIDE = (80, 80, 160, 160)
FITTED = {"prompt": "a lighthouse", "quality": "low", "size": "400x300"}


@pytest.fixture
def folder(fitting_app: App) -> Folder:
    return Folder(fitting_app.storage, "order 1017")


async def run(app: App, folder: Folder) -> Job:
    """The job of a folder that is whole, after it ran."""
    await uploads.look(folder.name)
    job_id = folder.job()
    assert job_id is not None, folder.error()
    return await app.deliver(job_id)


async def derived_of(app: App, job_id: str) -> dict[str, Any]:
    """What was derived of the one image of a job that succeeded: stored beside it, with a sidecar. The original is what
    the model sent, to the byte."""
    document = await app.document(job_id)
    assert document["status"] == "succeeded", document["error"]
    (image,) = document["images"]
    made_by_model = {one["sha256"] for called in app.model.calls() for one in called["images"]}
    original = hashlib.sha256(app.storage.read(image["blob"])).hexdigest()
    assert original == image["sha256"]
    assert original in made_by_model
    (made,) = image["derived"]
    assert hashlib.sha256(app.storage.read(made["blob"])).hexdigest() == made["sha256"] != original
    assert made["blob"].rpartition("/")[0] == image["blob"].rpartition("/")[0]
    told = sidecar_of(app, made["blob"])
    assert (told["of"], told["sha256"]) == (image["blob"], made["sha256"])
    assert app.storage.outcomes(job_id) == ["billed"]
    return dict(made)


def assert_exact(app: App, made: dict[str, Any]) -> None:
    """Outside the mask the derived image is the source, and inside it is not."""
    assert (made["how"], made["width"], made["height"]) == ("preserve", SIDE, SIDE)
    picture, source = rgba(app.storage.read(made["blob"])), rgba(SOURCE)
    assert picture.crop(OUTSIDE).tobytes() == source.crop(OUTSIDE).tobytes()
    assert picture.crop(INSIDE).tobytes() != source.crop(INSIDE).tobytes()


def assert_fitted(app: App, made: dict[str, Any]) -> None:
    assert (made["how"], made["width"], made["height"]) == ("contain", 400, 300)
    assert rgba(app.storage.read(made["blob"])).size == (400, 300)


async def test_a_folder_whose_request_preserves_gets_an_exact_edit(fitting_app: App, folder: Folder) -> None:
    folder.drop("photo.jpg", SOURCE)
    folder.drop("hole.png", mask())
    request = {"prompt": "a lighthouse", "quality": "low", "images": ["photo.jpg"], "mask": "hole.png"}
    folder.drop("request.json", {**request, "preserve": "exact"})
    job = await run(fitting_app, folder)
    assert_exact(fitting_app, await derived_of(fitting_app, job.id))


async def test_metadata_of_an_image_ask_for_an_exact_edit(fitting_app: App, folder: Folder) -> None:
    folder.drop("hole.png", mask())
    folder.drop("image.jpg", SOURCE, prompt="a%20lighthouse", quality="low", mask="hole.png", preserve="exact")
    job = await run(fitting_app, folder)
    assert_exact(fitting_app, await derived_of(fitting_app, job.id))


async def test_a_folder_gets_the_size_it_asks_for(fitting_app: App, folder: Folder) -> None:
    folder.drop("request.json", {**FITTED, "kind": "generate"})
    job = await run(fitting_app, folder)
    assert_fitted(fitting_app, await derived_of(fitting_app, job.id))


async def test_metadata_of_an_image_ask_for_a_size(fitting_app: App, folder: Folder) -> None:
    folder.drop("image.jpg", SOURCE, **{name: str(value) for name, value in FITTED.items()})
    job = await run(fitting_app, folder)
    assert_fitted(fitting_app, await derived_of(fitting_app, job.id))


async def test_a_folder_that_cannot_be_preserved_says_so_and_costs_nothing(fitting_app: App, folder: Folder) -> None:
    folder.drop("image.jpg", SOURCE, prompt="a%20lighthouse", preserve="exact")
    await uploads.look(folder.name)
    error = folder.error()
    assert error is not None
    assert (error["code"], error["param"]) == ("invalid_value", "preserve")
    assert folder.job() is None
    assert fitting_app.model.calls() == []


async def test_a_batch_makes_exact_edits_and_sizes_side_by_side(fitting_app: App) -> None:
    exact = {"prompt": "a lighthouse", "quality": "low", **EXACT}
    assert base64.b64decode(exact["images"][0]["data"]) == SOURCE
    batch = await batches.post([exact, FITTED])
    await fan_out.deliver(json.dumps({"batch_id": batch["id"]}).encode())
    jobs = batches.jobs_of(fitting_app, batch["id"])
    for job in jobs:
        await fitting_app.deliver(job)

    first, second = [await derived_of(fitting_app, job) for job in jobs]
    assert_exact(fitting_app, first)
    assert_fitted(fitting_app, second)
    assert (await batches.get(batch["id"]))["counts"]["succeeded"] == 2
