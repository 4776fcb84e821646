"""`POST /api/uploads`: links that create one blob each and do nothing else, and whose the folder is."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import uploads as door
from local.certificates import Certificates
from shared.errors import DarkroomError
from shared.jobs.job import is_id
from shared.pipeline import accept, upload_links, uploads
from shared.platform.principals import Caller
from tests.support.app_in_process import CALLER, App
from tests.support.doors import call
from tests.support.dropping import Folder
from tests.support.pictures import png

ALICE, BOB = Caller("alice", sees_all=False), Caller("bob", sees_all=False)
SOURCE = png()


async def post(body: Any) -> tuple[int, dict[str, Any]]:
    answer = await call(door.create_upload, json.dumps(body).encode(), headers={"content-type": "application/json"})
    return answer.status_code, json.loads(bytes(answer.body))


@pytest.fixture
def stranger(certificates: Certificates) -> Iterator[httpx.Client]:
    """Somebody with nothing but a link."""
    with httpx.Client(verify=ssl.create_default_context(cafile=certificates.ca), trust_env=False) as client:
        yield client


def put(stranger: httpx.Client, file: dict[str, Any], data: bytes) -> int:
    return stranger.request(file["method"], file["url"], content=data, headers=file["headers"]).status_code


def ask(stranger: httpx.Client, method: str, url: str) -> int:
    return stranger.request(method, url).status_code


async def taken(caller: Caller, request: dict[str, Any]) -> int:
    """The bytes of the source of `request`, which is understood and then forgotten."""
    intake = await accept.intake()
    try:
        return (await accept.understand(intake, caller, request, kind=None)).images[0].bytes
    finally:
        await intake.discard()


async def test_a_link_takes_one_file_once_and_nothing_else(app: App, stranger: httpx.Client) -> None:
    status, answer = await post({"files": ["image.png", "größe 2.JPG", "request.json"]})
    image = answer["files"][0]

    assert status == 201
    assert is_id(answer["folder"])
    assert [file["name"] for file in answer["files"]] == ["image.png", "größe 2.JPG", "request.json"]
    assert [file["headers"]["content-type"] for file in answer["files"]] == [
        "image/png",
        "image/jpeg",
        "application/json",
    ]
    assert image["blob"] == f"uploads/{answer['folder']}/image.png"
    assert [put(stranger, file, SOURCE) for file in answer["files"]] == [201, 201, 201]

    assert put(stranger, image, b"another") == 403
    assert [ask(stranger, method, image["url"]) for method in ("GET", "HEAD", "DELETE")] == [403, 403, 403]
    other = image["url"].replace("image.png?", "other.png?")
    assert put(stranger, {**image, "url": other}, b"x") == 403
    assert app.storage.read(image["blob"]) == SOURCE


async def test_links_are_for_https_and_end_after_a_quarter_of_an_hour(app: App) -> None:
    _, answer = await post({"files": ["image.png"]})
    query = parse_qs(urlsplit(answer["files"][0]["url"]).query)
    expires = datetime.fromisoformat(answer["expires_at"])

    assert (query["sp"], query["spr"], query["sr"]) == (["c"], ["https"], ["b"])
    assert "skoid" in query, "signed with a user-delegation key"
    assert query["se"] == [answer["expires_at"]]
    assert timedelta(minutes=14) < expires - datetime.now(UTC) <= timedelta(minutes=15)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_type", None),
        ({}, "missing_required_parameter", "files"),
        ({"files": "image.png"}, "invalid_type", "files"),
        ({"files": []}, "invalid_value", "files"),
        ({"files": [f"{number}.png" for number in range(19)]}, "invalid_value", "files"),
        ({"files": ["image.png"], "expires": 60}, "unknown_parameter", "expires"),
        ({"files": ["a.png", 7]}, "invalid_type", "files[1]"),
        ({"files": ["a.png", "a.png"]}, "invalid_value", "files[1]"),
        *(
            ({"files": [name]}, "invalid_value", "files[0]")
            for name in ("error.json", "job.json", "x.json", "image.gif", "image", ".png", "a/b.png", "..", "a\\b.png")
        ),
        *(
            ({"files": [name]}, "invalid_value", "files[0]")
            for name in ("a%2fb.png", "a?.png", " a.png", "\x7f.png", "")
        ),
    ],
)
async def test_a_list_of_files_that_cannot_be_is_refused_by_name(
    app: App, body: Any, code: str, param: str | None
) -> None:
    status, answer = await post(body)

    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, code, param)
    assert app.storage.rows("jobs") == []


async def test_an_uploaded_file_is_a_source_for_whoever_asked_for_the_link(app: App, stranger: httpx.Client) -> None:
    answer = await upload_links.hand_out(ALICE, {"files": ["image.png"]})
    [file] = answer["files"]
    put(stranger, file, SOURCE)
    source = {"prompt": "x", "images": [{"blob": file["blob"]}]}

    for caller in (ALICE, CALLER):
        assert await taken(caller, source) == len(SOURCE)
    with pytest.raises(DarkroomError) as caught:
        await taken(BOB, source)
    assert caught.value.code == "source_not_readable"


@pytest.mark.parametrize("blob", ["uploads/order 1017/image.png", "uploads/image.png", "uploads/{id}/deeper/image.png"])
async def test_other_folders_are_open_to_trusted_callers_alone(app: App, blob: str) -> None:
    answer = await upload_links.hand_out(ALICE, {"files": ["image.png"]})
    blob = blob.replace("{id}", answer["folder"])
    app.storage.container("uploads").upload_blob(blob.removeprefix("uploads/"), SOURCE)
    source = {"prompt": "x", "images": [{"blob": blob}]}

    assert await taken(CALLER, source) == len(SOURCE)
    with pytest.raises(DarkroomError) as caught:
        await taken(ALICE, source)
    assert caught.value.code == "source_not_readable"


async def test_a_folder_filled_by_links_is_a_job_of_whoever_asked_for_them(app: App, stranger: httpx.Client) -> None:
    answer = await upload_links.hand_out(ALICE, {"files": ["image.png", "request.json"]})
    image, request = answer["files"]
    folder = Folder(app.storage, answer["folder"])
    put(stranger, image, SOURCE)
    await uploads.look(folder.name)
    put(stranger, request, b'{"prompt": "a lighthouse", "quality": "low"}')
    await uploads.look(folder.name)
    job = await app.job(folder.job() or "")

    assert (job.owner, job.door) == ("alice", "upload")


async def test_a_wrong_request_in_a_folder_of_links_fails_as_a_job_of_its_owner(app: App) -> None:
    answer = await upload_links.hand_out(ALICE, {"files": ["request.json"]})
    folder = Folder(app.storage, answer["folder"])
    folder.drop("request.json", b"{")
    await uploads.look(folder.name)
    note = folder.note("error.json") or {}

    assert (await app.job(note["job"])).owner == "alice"


@given(st.text(max_size=12) | st.text(max_size=6).map(lambda name: f"{name}.png"))
def test_a_name_that_is_handed_out_stays_in_its_folder(name: str) -> None:
    try:
        names = upload_links._names({"files": [name]})
    except DarkroomError:
        names = []  # refused

    assert not any(set(one) & set("/\\%?#\0\n") or one.startswith(".") for one in names)
