"""Images named by URL: fetched from hosts that are allowed, stored as they came, and refused by the field's name."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from functions import jobs
from shared.images.sources import MAX_IMAGE_BYTES
from shared.pipeline import urls
from shared.pipeline.rooms import rooms
from shared.platform import outbound
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.photographs import mask, photograph
from tests.support.receiver import Receiver, answer

SETTINGS = {"IMAGE_URL_HOSTS": "127.0.0.1", "ALLOW_PRIVATE_NETWORKS": "1"}
Configure = Callable[..., None]


@pytest.fixture
def fetching(app: App, configure: Configure) -> App:
    """The app, configured to fetch images from `receiver`."""
    configure([deployment(app.model.url)], **SETTINGS)
    return app


async def refused(app: App, **fields: Any) -> dict[str, Any]:
    """The error of a job that is not accepted; nothing of it stays."""
    body = json.dumps({"prompt": "a boat", "quality": "low", **fields}).encode()
    response = await call(jobs.submit_job, body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert app.storage.rows("jobs") == []
    assert app.storage.blobs("requests") == []
    assert b"s3cret" not in bytes(response.body)
    error: dict[str, Any] = json.loads(bytes(response.body))["error"]
    return error


async def test_images_and_mask_are_fetched_once_and_stored_as_they_came(fetching: App, receiver: Receiver) -> None:
    first, second = photograph(), photograph("JPEG", shade=100)
    receiver.answers = [answer(200, first), answer(200, second), answer(200, mask())]
    urls = [f"{receiver.url}/{name}?sig=s3cret" for name in ("a.png", "b.jpg", "mask.png")]

    job = await fetching.run(images=[{"url": urls[0]}, {"url": urls[1]}], mask={"url": urls[2]})

    assert job.status == "succeeded"
    assert [heard.target for heard in receiver.requests] == [
        "/a.png?sig=s3cret",
        "/b.jpg?sig=s3cret",
        "/mask.png?sig=s3cret",
    ]
    stored = [fetching.storage.read(f"requests/{job.id}/{name}") for name in ("source-0", "source-1", "mask")]
    assert stored == [first, second, mask()]
    assert b"s3cret" not in fetching.storage.read(f"requests/{job.id}/request.json")
    request = (await fetching.document(job.id))["request"]
    assert request["images"][0] == {"blob": f"requests/{job.id}/source-0"}
    (model_call,) = fetching.model.calls()
    assert model_call["status"] == 200


async def test_a_request_is_the_same_wherever_its_image_came_from(fetching: App, receiver: Receiver) -> None:
    receiver.answers = [answer(200, photograph())] * 2
    ids = [
        await fetching.submit(images=[{"url": f"{receiver.url}/a"}]),
        await fetching.submit(images=[{"url": f"{receiver.url}/b?sig=other"}]),
        await fetching.submit(images=[{"data": base64.b64encode(photograph()).decode()}]),
    ]
    requests = [await (await rooms()).files(job_id).get_request() for job_id in ids]

    assert len({request.content_hash() for request in requests}) == 1


async def test_what_cannot_be_fetched_is_refused_by_the_fields_name_and_leaves_nothing(
    fetching: App, receiver: Receiver
) -> None:
    image = {"data": base64.b64encode(photograph()).decode()}
    too_long = answer(200, b"", content_length=str(MAX_IMAGE_BYTES + 1))
    for wire, said in (
        (answer(404, b"s3cret"), "status 404"),
        (answer(500, b"s3cret"), "status 500"),
        (answer(302, b"", location=f"{receiver.url}/elsewhere"), "redirect"),
        (answer(307, b"", location="https://169.254.169.254/metadata"), "redirect"),
        (answer(200, gzip.compress(photograph()), content_encoding="gzip"), "compressed"),
        (answer(200, photograph(), content_length="10000000"), "not answered in whole"),
        (too_long, f"more than {MAX_IMAGE_BYTES} bytes"),
    ):
        for written in ("url", "image_url"):
            receiver.answers = [wire]
            error = await refused(fetching, images=[image, {written: f"{receiver.url}/?sig=s3cret"}])
            assert (error["code"], error["param"]) == ("source_not_readable", f"images[1].{written}"), error
            assert error["message"].startswith(f"'images[1].{written}' "), error
            assert said in error["message"]
            assert "base64 in 'data'" in error["message"]
    assert receiver.connections == 14


async def test_a_request_whose_time_for_images_is_over_fetches_no_more(
    fetching: App, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "SECONDS_FOR_ALL", 0.0)
    image = {"data": base64.b64encode(photograph()).decode()}
    error = await refused(fetching, images=[image, {"url": f"{receiver.url}/late"}])

    assert (error["code"], error["param"]) == ("source_not_readable", "images[1].url")
    assert "in time" in error["message"]
    assert receiver.requests == []


async def test_an_answer_that_is_no_image_is_refused_as_one(fetching: App, receiver: Receiver) -> None:
    for fields, param in (
        ({"image": f"{receiver.url}/"}, "image"),
        ({"image": [f"{receiver.url}/"]}, "image[0]"),
        ({"images": [{"url": f"{receiver.url}/"}]}, "images[0].url"),
        ({"images": [{"image_url": f"{receiver.url}/"}]}, "images[0].image_url"),
    ):
        receiver.answers = [answer(200, b"<html>s3cret: please sign in</html>")]
        error = await refused(fetching, **fields)
        assert (error["code"], error["param"]) == ("invalid_image", param)


async def test_a_mask_that_was_fetched_and_does_not_fit_is_refused_by_the_fields_name(
    fetching: App, receiver: Receiver
) -> None:
    image = {"data": base64.b64encode(photograph()).decode()}
    for written in ("url", "image_url"):
        receiver.answers = [answer(200, mask(side=32))]
        error = await refused(fetching, images=[image], mask={written: f"{receiver.url}/m.png"})
        assert (error["code"], error["param"]) == ("invalid_mask", f"mask.{written}")
        assert f"'mask.{written}'" in error["message"]


async def test_hosts_that_are_not_allowed_are_refused_before_anything_is_asked(
    app: App, configure: Configure, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rebound(name: str, port: int) -> list[str]:
        return ["93.184.215.14", "127.0.0.1"]

    monkeypatch.setattr(outbound, "look_up", rebound)
    for settings, url, said in (
        ({"IMAGE_URL_HOSTS": ""}, receiver.url, "IMAGE_URL_HOSTS"),
        ({"IMAGE_URL_HOSTS": "example.com"}, receiver.url, "IMAGE_URL_HOSTS"),
        ({"IMAGE_URL_HOSTS": "example.com"}, "https://evil-example.com", "IMAGE_URL_HOSTS"),
        ({"IMAGE_URL_HOSTS": "169.254.169.254"}, "https://169.254.169.254", "not public"),
        ({"ALLOW_PRIVATE_NETWORKS": ""}, receiver.url, "port"),
        ({"ALLOW_PRIVATE_NETWORKS": ""}, "https://127.0.0.1", "not public"),
        ({"ALLOW_PRIVATE_NETWORKS": "", "IMAGE_URL_HOSTS": "example.com"}, "https://a.example.com", "not public"),
    ):
        configure([deployment(app.model.url)], **{**SETTINGS, **settings})
        for fields, param in (
            ({"images": [{"url": f"{url}/?sig=s3cret"}]}, "images[0].url"),
            ({"images": [{"image_url": f"{url}/?sig=s3cret"}]}, "images[0].image_url"),
            ({"image": f"{url}/?sig=s3cret"}, "image"),
            ({"image": base64.b64encode(photograph()).decode(), "mask": {"url": f"{url}/?sig=s3cret"}}, "mask.url"),
        ):
            error = await refused(app, **fields)
            assert (error["code"], error["param"]) == ("source_not_readable", param), (settings, url)
            assert said in error["message"], (settings, url)
    assert receiver.connections == 0
