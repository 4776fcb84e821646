"""The same requests to the app and to the model server behind it: a program cannot tell one from the other.

What is compared is the wire: status, headers that clients look at, and the body byte for byte but for what no two
answers share (times, ids of requests, the images' signatures). Where the app refuses by itself, before anything is
paid for, `docs/clients.md` says what may differ; the last tests here hold it to that.
"""

from __future__ import annotations

import base64
import io
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image

from local.state import StackInfo
from tests.clients.conftest import API_VERSION, DEPLOYMENT
from tests.support.model_control import ModelControl
from tests.support.photographs import SIDE, mask, photograph
from tests.support.storage import Storage

SURFACES = ("deployment", "v1")
small = pytest.mark.usefixtures("small_images")
GENERATION = {"prompt": "A lighthouse at dawn", "quality": "low"}
_CHANGING = (
    (re.compile(rb'("created(?:_at)?"):\d+'), rb"\1:0"),
    (re.compile(rb'"b64_json":"[^"]*"'), b'"b64_json":""'),
    (re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"<id>"),
)
_LOOKED_AT = ("content-type", "retry-after", "retry-after-ms", "content-encoding", "cache-control", "x-accel-buffering")


@dataclass(frozen=True, slots=True)
class Both:
    """Whoever sends a request to both, on one surface."""

    stack: StackInfo
    surface: str
    client: httpx.Client

    def ask(self, operation: str, **request: Any) -> tuple[httpx.Response, httpx.Response]:
        """The service's answer and the app's. `request` as httpx takes it; on v1 `model` is added to it."""
        for body in ("json", "data"):
            if isinstance(request.get(body), dict) and self.surface == "v1":
                request[body] = {**request[body], "model": DEPLOYMENT}
        path = f"/openai/v1/images/{operation}"
        if self.surface == "deployment":
            path = f"/openai/deployments/{DEPLOYMENT}/images/{operation}?api-version={API_VERSION}"
        keys = {self.stack.model: {"api-key": "unused"}, self.stack.app: {"x-functions-key": self.stack.key}}
        given = request.pop("headers", {})
        service, app = (
            self.client.post(f"{base}{path}", headers={**given, **key}, **request) for base, key in keys.items()
        )
        return service, app


@pytest.fixture(params=SURFACES)
def both(request: pytest.FixtureRequest, stack: StackInfo) -> Iterator[Both]:
    trust = ssl.create_default_context(cafile=stack.ca)
    with httpx.Client(verify=trust, trust_env=False, timeout=60) as client:
        yield Both(stack, request.param, client)


def told(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """What a client sees of an answer that any other answer to the same request has too."""
    body = answer.content
    for pattern, put in _CHANGING:
        body = pattern.sub(put, body)
    return answer.status_code, {name: answer.headers[name] for name in _LOOKED_AT if name in answer.headers}, body


def images(answer: httpx.Response) -> list[tuple[str | None, tuple[int, int]]]:
    """Format and size of each image in the body, partial ones too."""
    found = []
    for text in re.findall(rb'"b64_json":"([^"]+)"', answer.content):
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            found.append((image.format, image.size))
    return found


def assert_same(answers: tuple[httpx.Response, httpx.Response]) -> None:
    service, app = answers
    assert told(app) == told(service)
    assert images(app) == images(service)


def edit(mask_side: int = SIDE, **fields: str) -> dict[str, Any]:
    """A form with a photograph and a mask."""
    cut_out = ("mask.png", mask(mask_side), "image/png")
    files = [("image", ("photo.png", photograph(), "image/png")), ("mask", cut_out)]
    return {"data": {**GENERATION, **fields}, "files": files}


@small
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 2, "output_format": "jpeg", "output_compression": 50, "size": "1024x1536"},
        {"background": "transparent", "moderation": "low", "user": "somebody"},
        {"stream": True, "partial_images": 3},
        {"stream": True, "partial_images": 1, "n": 2, "output_format": "jpeg"},
    ],
    ids=lambda fields: "-".join(fields) or "plain",
)
def test_generations_are_answered_the_same(both: Both, fields: dict[str, Any]) -> None:
    service, app = both.ask("generations", json={**GENERATION, **fields})

    assert service.status_code == 200
    assert_same((service, app))


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_whole_images_are_answered_the_same(both: Both, streamed: bool) -> None:
    fields = {**GENERATION, "size": "1536x1024", "stream": streamed, "partial_images": int(streamed)}

    assert_same(both.ask("generations", json=fields))


@small
@pytest.mark.parametrize("fields", [{}, {"stream": "true", "partial_images": "2"}], ids=["plain", "stream"])
def test_edits_are_answered_the_same(both: Both, fields: dict[str, Any]) -> None:
    service, app = both.ask("edits", **edit(**fields))

    assert service.status_code == 200
    assert_same((service, app))


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@small
def test_refusals_are_the_services_own_words(both: Both, streamed: bool) -> None:
    for wrong in (
        {"size": "512x512"},
        {"quality": "best"},
        {"output_format": "webp"},
        {"moderation": "none"},
        {"n": "1"},
        {"seed": 7},
        {"prompt": None},
        {"prompt": "[[moderation_blocked]]"},
        {"prompt": "[[content_policy_violation]]"},
    ):
        service, app = both.ask("generations", json={**GENERATION, "stream": streamed, **wrong})
        assert service.status_code == 400, wrong
        assert_same((service, app))


def test_a_stream_of_the_service_that_ends_in_an_error_is_passed_on_as_it_is(both: Both, model: ModelControl) -> None:
    fault = {"stream_error": "moderation_blocked_output"}
    model.fail(fault, fault)

    service, app = both.ask("generations", json={**GENERATION, "stream": True, "partial_images": 1})

    assert b"event: error" in service.content
    assert_same((service, app))


def test_a_busy_service_is_told_with_the_time_to_wait(both: Both, model: ModelControl) -> None:
    fault = {"name": "rate_limited", "retry_after_seconds": 400}
    model.fail(fault, fault)
    try:
        service, app = both.ask("generations", json=GENERATION)
    finally:
        Storage(both.stack.blob, both.stack.table).forget_pacing()

    for answer in (service, app):
        assert answer.status_code == 429
        milliseconds = int(answer.headers["retry-after-ms"])
        assert 0 <= int(answer.headers["retry-after"]) - milliseconds / 1000 <= 1
    assert int(service.headers["retry-after"]) == 400
    # The app would itself wait the rest of that time, as long as an answer may take.
    assert 100 < int(app.headers["retry-after"]) < 400


@small
def test_an_answer_can_be_named_when_help_is_asked_for(both: Both) -> None:
    for answer in (*both.ask("generations", json=GENERATION), *both.ask("generations", json={"prompt": ""})):
        assert answer.headers["x-request-id"]


# -- where the app checks by itself ------------------------------------------------------------------------------------

BODY_PROBLEMS: list[tuple[str, dict[str, Any]]] = [
    ("generations", {"json": {**GENERATION, "n": 11}}),
    ("generations", {"json": {**GENERATION, "n": 0}}),
    ("generations", {"json": {**GENERATION, "stream": True, "partial_images": 4}}),
    ("generations", {"json": {**GENERATION, "output_format": "jpeg", "output_compression": 101}}),
    ("generations", {"json": {**GENERATION, "background": "transparent", "output_format": "jpeg"}}),
    ("generations", {"json": {**GENERATION, "prompt": ""}}),
    ("generations", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("generations", {"content": b"[]", "headers": {"content-type": "application/json"}}),
    ("edits", edit(n="two")),
    ("edits", {"data": GENERATION, "files": [("mask", ("mask.png", mask(), "image/png"))]}),
    ("edits", edit(mask_side=128)),
]


def test_what_the_app_checks_by_itself_has_status_type_and_field_of_the_services_refusal(both: Both) -> None:
    for operation, request in BODY_PROBLEMS:
        service, app = both.ask(operation, **dict(request))
        theirs, ours = service.json()["error"], app.json()["error"]

        assert (app.status_code, ours["type"], ours["param"]) == (400, theirs["type"], theirs["param"]), theirs
        assert ours["message"]
        assert ours["code"] in {"invalid_value", "invalid_type", "invalid_json", "invalid_mask", theirs["code"]}


def test_a_content_filters_refusal_keeps_code_and_message(both: Both) -> None:
    for marker in ("content_filter_prompt", "content_filter_output"):
        service, app = both.ask("generations", json={**GENERATION, "prompt": f"[[{marker}]]"})
        theirs, ours = service.json()["error"], app.json()["error"]

        assert (app.status_code, ours["code"], ours["message"]) == (400, theirs["code"], theirs["message"])
