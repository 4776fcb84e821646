"""What is wrong with dropped files is told once, beside them and as a failed job; whatever they are, nothing breaks."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shared.pipeline import uploads
from tests.support.app_in_process import App
from tests.support.dropping import FILES, Folder, drop, jobs
from tests.support.pictures import good_mask, jpeg, png


@pytest.fixture
def folder(app: App) -> Folder:
    return Folder(app.storage, "order 1017")


WRONG: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("no JSON", {"request.json": b"{"}, "invalid_json", None),
    ("not even text", {"request.json": b"\xff\xfe\x00"}, "invalid_json", None),
    ("no object", {"request.json": b"[]"}, "invalid_type", None),
    ("an unknown field", {"request.json": {"prompt": "x", "seed": 1}}, "unknown_parameter", "seed"),
    ("no prompt", {"request.json": {}}, "missing_required_parameter", "prompt"),
    ("far too long", {"request.json": b" " * 300_000}, "request_too_large", None),
    ("a way out", {"request.json": {"prompt": "x", "mask": "../other/mask.png"}}, "invalid_value", "mask"),
    ("our own note", {"request.json": {"prompt": "x", "images": ["error.json"]}}, "invalid_value", "images[0]"),
    (
        "no file name",
        {"request.json": {"prompt": "x", "images": [{"blob": "results/x"}]}},
        "invalid_value",
        "images[0]",
    ),
    ("no images", {"request.json": {"prompt": "x", "images": []}}, "invalid_value", "images"),
    ("two candidates", {"image.jpg": jpeg(), "request.json": {"prompt": "x"}}, "invalid_value", "images"),
    ("an empty image", {"image.png": b"", "request.json": {"prompt": "x"}}, "invalid_image", "image"),
    ("no image", {"image.png": b"no image at all", "request.json": {"prompt": "x"}}, "invalid_image", "image"),
    ("a mask of another size", {"mask.png": good_mask(32, 32)}, "invalid_mask", "mask"),
    ("a mask without alpha", {"mask.png": png()}, "invalid_mask", "mask"),
    ("an unknown model", {"request.json": {"prompt": "x", "model": "dall-e-9"}}, "deployment_not_found", "model"),
]


@pytest.mark.parametrize(("files", "code", "param"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_what_is_wrong_is_told_once_beside_the_files_and_as_a_failed_job(
    app: App, folder: Folder, files: dict[str, Any], code: str, param: str | None
) -> None:
    for name, data in {**FILES, **files}.items():
        folder.drop(name, data)
    await uploads.look(folder.name)
    await uploads.look(folder.name)

    [row] = jobs(app)
    said, told = folder.error(), json.loads(row["error"])
    assert said is not None
    assert (said["code"], said["param"]) == (code, param) == (told["code"], told["param"])
    assert told["message"] == f"Upload 'order 1017': {said['message']}"
    assert (row["status"], row["owner"], row["door"]) == ("failed", "upload", "upload")
    assert len([one for one in app.storage.rows("jobs") if one["RowKey"].startswith("o:")]) == 1
    assert app.storage.blobs("requests") == []
    assert folder.job() is None
    note = folder.note("error.json")
    assert note is not None
    assert note["job"] == row["RowKey"].removeprefix("j:")


async def test_what_was_wrong_and_is_put_right_becomes_a_job_and_the_note_goes(app: App, folder: Folder) -> None:
    drop(folder)
    folder.drop("mask.png", good_mask(32, 32))
    await uploads.look(folder.name)
    assert folder.error()
    folder.drop("mask.png", good_mask())
    await uploads.look(folder.name)

    assert folder.files() == ["image.png", "job.json", "mask.png", "request.json"]
    assert sorted(row["status"] for row in jobs(app)) == ["failed", "queued"]


async def test_each_other_wrong_set_is_told_and_replaces_the_note(app: App, folder: Folder) -> None:
    folder.drop("request.json", b"{")
    await uploads.look(folder.name)
    folder.drop("request.json", {"prompt": "x", "seed": 1})
    await uploads.look(folder.name)
    error = folder.error()

    assert error is not None
    assert error["param"] == "seed"
    assert len(jobs(app)) == 2


async def test_a_wrong_metadata_entry_is_named(app: App, folder: Folder) -> None:
    folder.drop("image.png", png(), prompt="x", qualty="low")
    await uploads.look(folder.name)
    error = folder.error()

    assert error is not None
    assert error["param"] == "qualty"
    assert "did you mean 'quality'" in error["message"]


async def test_a_folder_that_is_full_of_files_is_refused_once(app: App, folder: Folder) -> None:
    for number in range(101):
        folder.drop(f"{number}.txt", b"x")
    await uploads.look(folder.name)
    await uploads.look(folder.name)
    error = folder.error()

    assert error is not None
    assert "more than 100 files" in error["message"]
    assert len(jobs(app)) == 1


@pytest.mark.parametrize("name", ["a/../b", "a//b", "./a", "a\\b", "a\nb", "x" * 901])
async def test_a_folder_whose_name_may_lead_elsewhere_is_a_failed_job_and_nothing_is_read_or_written(
    app: App, name: str
) -> None:
    await uploads.look(name)
    await uploads.look(name)

    [row] = jobs(app)
    assert json.loads(row["error"])["code"] == "invalid_value"
    assert app.storage.blobs("uploads") == []


@pytest.mark.parametrize("name", ["50% off?", "a#b", "größe 港", "a'b", "a&b=c+d", "trailing."])
async def test_a_folder_of_any_other_name_is_a_folder(app: App, name: str) -> None:
    folder = Folder(app.storage, name)
    drop(folder)
    await uploads.look(name)

    [row] = jobs(app)
    assert row["RowKey"] == f"j:{folder.job()}"


_BYTES = st.binary(max_size=40) | st.sampled_from([png(), jpeg(), good_mask(), b"{}", b"null"])
_TEXT = st.dictionaries(
    st.sampled_from(["prompt", "mask", "images", "n", "size", "kind", "boxes", "darkroom_metadata", "other"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12),
    max_size=4,
)
_REQUEST = st.dictionaries(
    st.sampled_from(["prompt", "mask", "images", "n", "size", "kind", "boxes", "metadata", "seed"]),
    st.text(max_size=8) | st.integers() | st.lists(st.sampled_from(["image.png", "mask.png", "x"]), max_size=3),
).map(lambda fields: json.dumps(fields).encode())


@effort(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["request.json", "image.png", "image.jpg", "mask.png", "x", "job.json", "error.json"]),
        st.tuples(_BYTES | _REQUEST, _TEXT),
        min_size=1,
    )
)
async def test_whatever_lies_in_a_folder_it_waits_or_is_a_job_or_is_told_why_not(
    app: App, files: dict[str, tuple[bytes, dict[str, str]]]
) -> None:
    folder = Folder(app.storage, uuid4().hex)
    for name, (data, metadata) in files.items():
        folder.drop(name, data, **metadata)
    before = {row["RowKey"] for row in jobs(app)}
    await uploads.look(folder.name)
    await uploads.look(folder.name)
    made = [row for row in jobs(app) if row["RowKey"] not in before]

    assert len(made) <= 1
    for row in made:
        note = folder.note("error.json" if row["status"] == "failed" else "job.json")
        assert note is not None
        assert f"j:{note.get('job', note.get('id'))}" == row["RowKey"]
        assert not row.get("error") or json.loads(row["error"])["code"] == note["error"]["code"]
