"""Wrong JSON requests at every route that takes one: a 4xx in the shape of the images API that names the field, nothing
stored, and the next good request works."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import base64_text, claiming, gif, good_mask, jpeg, png, with_text_bomb
from tests.support.refusals import EDITS, GENERATIONS, GOOD, JOBS, error_of, leaves_nothing
from tests.support.storage import Storage
from tests.support.waiting import ended

ROUTES = [*GENERATIONS, *EDITS, JOBS]
JSON = {"content-type": "application/json"}
PICTURE = base64_text(png())


@pytest.fixture
async def client(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> AsyncIterator[httpx.AsyncClient]:
    """A client after whose requests nothing may be left."""
    async with leaves_nothing(app_client, stack_model, stack_storage):
        yield app_client


NO_JSON = {
    "empty": b"",
    "cut": b'{"prompt": "a',
    "not JSON": b"prompt=a",
    "deep array": b"[" * 100_000,
    "deep array, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in a field": b'{"prompt":"a","metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"prompt":"a","n":NaN}',
    "Infinity": b'{"prompt":"a","n":-Infinity}',
    "two documents": b'{"prompt":"a"}{"prompt":"b"}',
    "Latin-1": '{"prompt":"caf\u00e9"}'.encode("latin-1"),
    "half of UTF-8": b'{"prompt":"\xe2\x82"}',
    "NUL": b"\0",
    "a number of 5,000 digits": b'{"prompt":"a","n":' + b"9" * 5_000 + b"}",
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\3\xab\xae\5\0\x43\xbf\xa6\xa3\2\0\0\0",
}


@pytest.mark.parametrize("route", ROUTES)
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, route: str) -> None:
    for name, body in NO_JSON.items():
        error = error_of(await client.post(route, content=body, headers=JSON), status=400)
        assert error["code"] == "invalid_json", name


async def test_json_that_is_no_object_is_refused(client: httpx.AsyncClient) -> None:
    for route, body in itertools.product(ROUTES, ([], "text", 7, None, True, [GOOD])):
        error = error_of(await client.post(route, content=json.dumps(body).encode(), headers=JSON), status=400)
        assert error["code"] == "invalid_type"


async def test_other_content_types_are_refused(client: httpx.AsyncClient) -> None:
    types = ["text/plain", "application/x-www-form-urlencoded", "image/png", 'a/b; c="', "x"]
    pairs = [*itertools.product(ROUTES, types), *((route, "multipart/form-data; boundary=b") for route in GENERATIONS)]
    for route, content_type in pairs:
        answer = await client.post(route, content=json.dumps(GOOD).encode(), headers={"content-type": content_type})
        error = error_of(answer, status=415)
        assert error["code"] == "unsupported_media_type", (route, content_type)
        assert ("multipart/form-data," in error["message"]) == (route not in GENERATIONS), error["message"]


async def test_a_compressed_body_is_refused_by_the_name_of_its_header(client: httpx.AsyncClient) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    for route, coding in itertools.product(ROUTES, ("gzip", "br", "gzip, identity")):
        error = error_of(
            await client.post(route, content=body, headers={**JSON, "content-encoding": coding}), status=415
        )
        assert "Content-Encoding" in error["message"]


# Field, value, code; `param` must begin with the field's name.
FIELDS: list[tuple[str, Any, str]] = [
    ("prompt", 7, "invalid_type"),
    ("prompt", ["a"], "invalid_type"),
    ("prompt", {}, "invalid_type"),
    ("prompt", "", "invalid_value"),
    ("prompt", " \n", "invalid_value"),
    ("prompt", None, "missing_required_parameter"),
    ("prompt", "x" * 4_001, "invalid_value"),
    ("prompt", "x" * 2_000_000, "invalid_value"),
    ("prompt", "a\0b", "invalid_value"),
    ("prompt", "\ud83d", "invalid_value"),
    ("n", "1", "invalid_type"),
    ("n", 1.5, "invalid_type"),
    ("n", True, "invalid_type"),
    ("n", 0, "invalid_value"),
    ("n", 11, "invalid_value"),
    ("n", -(10**30), "invalid_value"),
    ("n", 10**4_000, "invalid_value"),
    ("size", "512x512", "invalid_value"),
    ("size", "\ud800", "invalid_value"),
    ("size", 1024, "invalid_type"),
    ("size", "x" * 100_000, "invalid_value"),
    ("quality", "best", "invalid_value"),
    ("quality", [], "invalid_type"),
    ("output_format", "webp", "invalid_value"),
    ("output_format", "tiff", "invalid_value"),
    ("output_compression", 101, "invalid_value"),
    ("output_compression", "high", "invalid_type"),
    ("background", "blue", "invalid_value"),
    ("moderation", "none", "invalid_value"),
    ("response_format", "xml", "invalid_value"),
    ("user", 5, "invalid_type"),
    ("user", "u" * 10_000, "invalid_value"),
    ("stream", "yes", "invalid_type"),
    ("partial_images", 4, "invalid_value"),
    ("metadata", [], "invalid_type"),
    ("metadata", {"a": 1}, "invalid_type"),
    ("metadata", {"": "x"}, "invalid_value"),
    ("metadata", {"k" * 65: "x"}, "invalid_value"),
    ("metadata", {"k": "v" * 513}, "invalid_value"),
    ("metadata", {f"k{number}": "v" for number in range(17)}, "invalid_value"),
    ("metadata", {f"k{number}": "\U0001f600" * 512 for number in range(3)}, "invalid_value"),
    ("metadata", {"k": "\udc00"}, "invalid_value"),
    ("callback_url", "http://10.0.0.1/", "invalid_value"),
    ("kind", "delete", "invalid_value"),
    ("seed", 1, "unknown_parameter"),
    ("owner", "admin", "unknown_parameter"),
    ("job_id", "0" * 26, "unknown_parameter"),
    ("__class__", {}, "unknown_parameter"),
    ("\ud800", 1, "unknown_parameter"),
    ("x" * 100_000, 1, "unknown_parameter"),
]


@pytest.mark.parametrize("route", [*GENERATIONS, JOBS])
async def test_a_field_that_is_wrong_is_named(client: httpx.AsyncClient, route: str) -> None:
    for field, value, code in FIELDS:
        body = json.dumps({**GOOD, field: value}).encode()
        error = error_of(await client.post(route, content=body, headers=JSON), status=400)
        assert error["code"] == code, (field, error)
        assert error["param"] is not None, field
        assert error["param"][:8] == field.replace("\ud800", "?")[:8], (field, error)


async def test_a_deployment_that_is_not_there_is_a_404(client: httpx.AsyncClient) -> None:
    for route, body in (
        ("/openai/deployments/nobody/images/generations", GOOD),
        ("/openai/deployments/..%2f..%2fadmin/images/generations", GOOD),
        ("/openai/deployments/%00/images/generations", GOOD),
        ("/openai/v1/images/generations", {**GOOD, "model": "nobody"}),
        ("/openai/v1/images/generations", {**GOOD, "model": "../x"}),
        (JOBS, {**GOOD, "model": "nobody"}),
    ):
        error = error_of(await client.post(route, json=body), status=404)
        assert (error["code"], error["param"]) == ("deployment_not_found", "model")


# The sources of an edit: members of the body, code, the beginning of `param`.
SOURCES: list[tuple[str, dict[str, Any], str, str]] = [
    ("none", {}, "missing_required_parameter", "image"),
    ("an empty list", {"image": []}, "missing_required_parameter", "image"),
    ("a number", {"image": 5}, "invalid_type", "image"),
    ("not base64", {"image": "***"}, "invalid_image", "image"),
    ("base64 of text", {"image": base64_text(b"no image at all")}, "invalid_image", "image"),
    ("a gif", {"image": base64_text(gif())}, "invalid_image", "image"),
    ("a cut jpeg", {"image": base64_text(jpeg()[:200])}, "invalid_image", "image"),
    ("a cut png", {"image": base64_text(png()[:20])}, "invalid_image", "image"),
    ("60000x60000", {"image": base64_text(claiming(60_000, 60_000))}, "image_too_large", "image"),
    ("2^31 wide", {"image": base64_text(claiming(2**31 - 1, 1))}, "image_too_large", "image"),
    ("no pixels", {"image": base64_text(claiming(0, 8))}, "invalid_image", "image"),
    ("a data URL of text", {"image": "data:text/html;base64,PGI+"}, "invalid_image", "image"),
    ("seventeen", {"image": [PICTURE] * 17}, "invalid_value", "image"),
    ("a bad second", {"image": [PICTURE, base64_text(gif())]}, "invalid_image", "image[1]"),
    ("a url", {"image": "https://169.254.169.254/metadata"}, "source_not_readable", "image"),
    ("http", {"images": [{"url": "http://example.com/a.png"}]}, "invalid_value", "image"),
    ("two at once", {"images": [{"url": "https://example.com", "data": PICTURE}]}, "invalid_value", "image"),
    ("stored", {"images": [{"stored": "source-0"}]}, "unknown_parameter", "image"),
    ("file", {"image": "file:///etc/passwd"}, "invalid_image", "image"),
    ("a mask of another size", {"image": PICTURE, "mask": base64_text(good_mask(32, 64))}, "invalid_mask", "mask"),
    ("a mask without alpha", {"image": PICTURE, "mask": PICTURE}, "invalid_mask", "mask"),
    (
        "an opaque mask",
        {"image": PICTURE, "mask": base64_text(png(64, 64, "RGBA", (0, 0, 0, 255)))},
        "invalid_mask",
        "mask",
    ),
    ("a jpeg mask", {"image": PICTURE, "mask": base64_text(jpeg())}, "invalid_mask", "mask"),
    ("a cut mask", {"image": PICTURE, "mask": base64_text(good_mask()[:-40])}, "invalid_image", "mask"),
    ("two masks", {"image": PICTURE, "mask": [PICTURE, PICTURE]}, "invalid_type", "mask"),
    ("a mask alone", {"mask": base64_text(good_mask())}, "missing_required_parameter", "image"),
    (
        "a mask with a text bomb",
        {"image": PICTURE, "mask": base64_text(with_text_bomb(good_mask(), b"zTXt"))},
        "invalid_image",
        "mask",
    ),
    (
        "a mask with an international text bomb",
        {"image": PICTURE, "mask": base64_text(with_text_bomb(good_mask(), b"iTXt"))},
        "invalid_image",
        "mask",
    ),
]


@pytest.mark.parametrize("route", [*EDITS, JOBS])
async def test_a_source_that_is_no_image_or_no_mask_is_named(client: httpx.AsyncClient, route: str) -> None:
    for name, members, code, param in SOURCES:
        body = {**GOOD, "kind": "edit", **members} if route == JOBS else {**GOOD, **members}
        error = error_of(await client.post(route, json=body), status=400)
        assert error["code"] == code, (name, error)
        assert str(error["param"]).startswith(param), (name, error)


BLOBS = [
    "requests/{job}/request.json",
    "results/../requests/{job}/request.json",
    "results/2026/11/22/../../../../requests/{job}/request.json",
    "results/2026/11/22/{job}/../{job}/0.png",
    "results/%2e%2e/requests/{job}/request.json",
    "results\\2026",
    "results//2026/11/22/{job}/0.png",
    "results/2026/11/22/{job}/0.png?sig=x",
    "results/2026/11/22/{job}/0.png#",
    "results/2026/11/22/" + "0" * 26 + "/0.png",
    "results/2026/11/22/{job}/9.png",
    "results",
    "/results/x",
    "azure-webjobs-secrets/host.json",
    "azure-webjobs-hosts/locks",
    "app-package-darkroom/released-package.zip",
    "uploads/secret.png",
    "$logs/x",
    "results/\0",
    "results/" + "a" * 2_000,
    "\u0440esults/2026/11/22/{job}/0.png",
]


async def test_no_path_leads_to_a_blob_that_is_not_the_callers(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    job = (await app_client.post(GENERATIONS[1], json=GOOD)).headers["x-darkroom-job"]
    await ended(app_client, job)
    stack_model.forget()
    async with leaves_nothing(app_client, stack_model, stack_storage):
        for blob in BLOBS:
            body = {**GOOD, "images": [{"blob": blob.format(job=job)}]}
            for route in (EDITS[1], JOBS):
                error = error_of(await app_client.post(route, json=body), status=400)
                assert error["code"] in ("invalid_value", "source_not_readable"), (blob, error)
                assert error["param"].startswith("image"), blob


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KNOWN = ["prompt", "n", "size", "quality", "image", "images", "mask", "metadata", "user", "kind", "model", "background"]
_EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@_EXAMPLES
@given(body=st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=12), JSON_VALUES, max_size=5))
def test_no_object_whatever_it_holds_is_more_than_refused(stack: StackInfo, body: dict[str, Any]) -> None:
    with httpx.Client(base_url=stack.app, headers={"x-functions-key": stack.key}, timeout=30) as client:
        for route in (GENERATIONS[1], EDITS[1], JOBS):
            # A number is no list of boxes: with it no request is accepted, however good the rest happens to be.
            error_of(client.post(route, content=json.dumps({**body, "boxes": 1}).encode(), headers=JSON))


@_EXAMPLES
@given(body=st.binary(max_size=200), content_type=st.sampled_from(["application/json", "application/x+json", ""]))
def test_no_bytes_whatever_they_are_are_more_than_refused(stack: StackInfo, body: bytes, content_type: str) -> None:
    with httpx.Client(base_url=stack.app, headers={"x-functions-key": stack.key}, timeout=30) as client:
        for route in (GENERATIONS[0], EDITS[0], JOBS):
            error_of(client.post(route, content=body, headers={"content-type": content_type}))
