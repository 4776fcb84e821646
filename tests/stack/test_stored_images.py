"""What stays of an image: its blob with its headers, its sidecar, and the routes that read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from shared.images.metadata import decode_metadata
from tests.support.model_control import ModelControl
from tests.support.peers import blob, fetch
from tests.support.photographs import mask, photograph
from tests.support.requests import PROMPT, generated, job, waited_for

METADATA = {"order": "№ 7"}


async def test_the_blob_says_what_it_is_and_where_it_comes_from(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    document = await generated(app_client, output_format="jpeg", size="1536x1024", metadata=METADATA)

    (image,) = document["images"]
    assert image["blob"] == f"results/{datetime.now(UTC):%Y/%m/%d}/{document['id']}/0.jpg"
    properties = blob(stack, image["blob"]).get_blob_properties()
    assert properties.content_settings.content_type == "image/jpeg"
    assert decode_metadata(properties.metadata.pop("darkroom_metadata")) == METADATA
    assert properties.metadata == {
        "job": document["id"],
        "model": "gpt-image-1",
        "size": "1536x1024",
        "quality": "low",
        "provenance": "trusted",
        "sha256": image["sha256"],
    }


async def test_the_sidecar_tells_the_whole_story(app_client: httpx.AsyncClient, model: ModelControl) -> None:
    document = await generated(app_client, metadata=METADATA)

    answer = await app_client.get(f"/api/images/{document['id']}/0/provenance")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    sidecar: dict[str, Any] = answer.json()
    (image,), (call,) = document["images"], model.calls()
    provenance, timings = sidecar.pop("provenance"), sidecar.pop("timings")
    assert sidecar == {
        "job": document["id"],
        **{name: value for name, value in image.items() if name not in ("url", "provenance")},
        "request": document["request"],
        "adapted": [],
        "model": "gpt-image-1",
        "deployment": "gpt-image-1",
        "region": "westus3",
        "service_request_id": call["request_id"],
        "usage": call["usage"],
        "cost": document["cost"],
        "metadata": METADATA,
    }
    assert sidecar["request"]["prompt"] == PROMPT
    moments = [timings[name] for name in ("created_at", "started_at", "call_started_at", "stored_at")]
    assert moments == sorted(moments)
    assert provenance["state"] == "trusted"
    assert provenance["manifest"]["validation_state"] == "Trusted"
    assert provenance["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    assert provenance["software_agent"] == "Azure OpenAI ImageGen"
    assert image["provenance"] == {"state": provenance["state"], "issuer": provenance["issuer"]}


async def test_the_sidecar_of_an_edit_names_the_stored_sources(app_client: httpx.AsyncClient, stack: StackInfo) -> None:
    answer = await app_client.post(
        "/openai/v1/images/edits",
        data={"prompt": PROMPT, "quality": "low"},
        files=[("image[]", photograph()), ("image[]", photograph("JPEG")), ("mask", mask())],
    )

    assert answer.status_code == 200, answer.text
    job_id = answer.headers["x-darkroom-job"]
    await job(app_client, job_id)
    sidecar = (await app_client.get(f"/api/images/{job_id}/0/provenance")).json()
    sources = [source["blob"] for source in [*sidecar["request"]["images"], sidecar["request"]["mask"]]]
    assert sources == [f"requests/{job_id}/source-0", f"requests/{job_id}/source-1", f"requests/{job_id}/mask"]
    stored = [blob(stack, name).download_blob().readall() for name in sources]
    assert stored == [photograph(), photograph("JPEG"), mask()]


@pytest.fixture(scope="module")
def image(session_stack: StackInfo) -> tuple[str, bytes]:
    """The path of a stored image, and its bytes. Nothing here changes it, so one is enough."""
    document = waited_for(session_stack, output_format="jpeg")
    return f"/api/images/{document['id']}/0", fetch(session_stack, "GET", document["images"][0]["url"]).content


async def test_an_image_comes_with_what_caches_need(app_client: httpx.AsyncClient, image: tuple[str, bytes]) -> None:
    path, content = image
    sha256 = (await job(app_client, path.split("/")[3]))["images"][0]["sha256"]

    answer = await app_client.get(path)

    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["etag"] == f'"{sha256}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


async def test_head_tells_the_same_without_the_bytes(app_client: httpx.AsyncClient, image: tuple[str, bytes]) -> None:
    path, _ = image
    expected = (await app_client.get(path)).headers

    answer = await app_client.head(path)

    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "accept-ranges", "cache-control"):
        assert answer.headers[name] == expected[name], name


@pytest.mark.parametrize("form", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
async def test_a_copy_the_caller_has_already_is_not_sent_again(
    app_client: httpx.AsyncClient, image: tuple[str, bytes], form: str
) -> None:
    path, _ = image
    etag = (await app_client.head(path)).headers["etag"]

    answer = await app_client.get(path, headers={"if-none-match": form.format(etag=etag), "range": "bytes=0-9"})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag
    assert (await app_client.get(path, headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=-99999999", 0, None),
        ("Bytes=3-3", 3, 3),
    ],
)
async def test_a_range_gives_just_those_bytes(
    app_client: httpx.AsyncClient, image: tuple[str, bytes], asked: str, first: int, last: int | None
) -> None:
    path, content = image
    start = first % len(content)
    end = len(content) - 1 if last is None else last

    answer = await app_client.get(path, headers={"range": asked})

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(content)}"
    assert answer.content == content[start : end + 1]
    assert answer.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("asked", ["bytes=5-2", "lines=0-9", "bytes=0-1,4-5", "bytes=-", "bytes=a-b", "bytes", "5"])
async def test_a_range_that_cannot_be_understood_is_passed_over(
    app_client: httpx.AsyncClient, image: tuple[str, bytes], asked: str
) -> None:
    path, content = image

    answer = await app_client.get(path, headers={"range": asked})

    assert (answer.status_code, len(answer.content)) == (200, len(content))


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
async def test_a_range_behind_the_end_is_not_satisfiable(
    app_client: httpx.AsyncClient, image: tuple[str, bytes], asked: str
) -> None:
    path, content = image

    answer = await app_client.get(path, headers={"range": asked})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


async def test_a_range_of_another_version_gives_the_whole_image(
    app_client: httpx.AsyncClient, image: tuple[str, bytes]
) -> None:
    path, content = image
    etag = (await app_client.head(path)).headers["etag"]

    other = await app_client.get(path, headers={"range": "bytes=0-9", "if-range": '"other"'})
    same = await app_client.get(path, headers={"range": "bytes=0-9", "if-range": etag})

    assert (other.status_code, other.content) == (200, content)
    assert (same.status_code, same.content) == (206, content[:10])


@pytest.mark.parametrize("index", ["1", "-1", "00000", "x", "0.jpg", "٣"])
async def test_an_image_that_is_not_there_is_not_found(
    app_client: httpx.AsyncClient, image: tuple[str, bytes], index: str
) -> None:
    path, _ = image

    for below in ("", "/provenance"):
        answer = await app_client.get(f"{path.removesuffix('0')}{index}{below}")
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "index"
