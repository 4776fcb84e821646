"""Wrong multipart bodies at every route that takes one: refused by name, nothing left, the next request works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.state import StackInfo
from tests.support.model_control import ModelControl
from tests.support.pictures import claiming, gif, good_mask, jpeg, png, with_text_bomb
from tests.support.refusals import EDITS, JOBS, error_of, leaves_nothing
from tests.support.storage import Storage
from tests.support.waiting import ended

ROUTES = [*EDITS, JOBS]
FORM = {"content-type": "multipart/form-data; boundary=b"}
PNG = png()


@pytest.fixture
async def client(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> AsyncIterator[httpx.AsyncClient]:
    """A client after whose requests nothing may be left."""
    async with leaves_nothing(app_client, stack_model, stack_storage):
        yield app_client


def part(name: str, value: bytes, *, filename: str | None = None, extra: bytes = b"") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'.encode()
    return head + extra + b"\r\n" + value + b"\r\n"


IMAGE = part("image", PNG, filename="a.png", extra=b"Content-Type: image/png\r\n")
PROMPT = part("prompt", b"a lighthouse")
END = b"--b--\r\n"

MALFORMED = {
    "empty": b"",
    "no boundary in it": b"a lighthouse",
    "cut in a header": (PROMPT + IMAGE)[:30],
    "cut in a file": (PROMPT + IMAGE)[:-20],
    "without its end": PROMPT + IMAGE,
    "a part without a name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
    "a part without a disposition": b"--b\r\n\r\nx\r\n" + END,
    "another disposition": b'--b\r\nContent-Disposition: attachment; name="prompt"\r\n\r\nx\r\n' + END,
    "a broken header": b"--b\r\nContent\0Disposition\r\n\r\nx\r\n" + END,
    "a header of 100 kB": part("prompt", b"x", extra=b"X: " + b"y" * 100_000 + b"\r\n") + END,
    "10,000 headers": part("prompt", b"x", extra=b"X: y\r\n" * 10_000) + END,
    "1,000 fields": b"".join(part(f"f{number}", b"") for number in range(1_000)) + END,
    "1,000 files": PROMPT + IMAGE * 1_000 + END,
}


@pytest.mark.parametrize("route", ROUTES)
async def test_a_malformed_body_is_refused(client: httpx.AsyncClient, route: str) -> None:
    for name, body in MALFORMED.items():
        error = error_of(await client.post(route, content=body, headers=FORM), status=400)
        assert error["code"] == "invalid_multipart", (name, error)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_boundary_that_is_missing_or_absurd_is_refused(client: httpx.AsyncClient, route: str) -> None:
    for kind in ("", "; boundary=", '; boundary=""', "; boundary=" + "x" * 500, "; charset=b", ";;;", '; boundary="b'):
        answer = await client.post(
            route, content=PROMPT + END[:2], headers={"content-type": f"multipart/form-data{kind}"}
        )
        assert error_of(answer, status=400)["code"] == "invalid_multipart", kind


# What the form holds beside the prompt: parts, code, the beginning of `param`.
FORMS: list[tuple[str, bytes, str, str]] = [
    ("no image", b"", "missing_required_parameter", "image"),
    ("prompt twice", IMAGE + part("prompt", b"again"), "invalid_value", "prompt"),
    ("n twice", IMAGE + part("n", b"1") + part("n", b"2"), "invalid_value", "n"),
    ("n no number", IMAGE + part("n", b"two"), "invalid_type", "n"),
    ("n far too large", IMAGE + part("n", b"9" * 5_000), "invalid_type", "n"),
    ("an unknown field", IMAGE + part("seed", b"1"), "unknown_parameter", "seed"),
    ("an unknown file", IMAGE + part("avatar", PNG, filename="a.png"), "unknown_parameter", "avatar"),
    ("a field that is no UTF-8", IMAGE + part("user", b"\xff\xfe"), "invalid_value", "user"),
    ("a field of 300 kB", IMAGE + part("user", b"u" * 300_000), "invalid_value", "user"),
    ("metadata no JSON", IMAGE + part("metadata", b"{"), "invalid_type", "metadata"),
    ("deep metadata", IMAGE + part("metadata", b"[" * 100_000), "invalid_type", "metadata"),
    ("a path for a name", IMAGE + part("../../etc", b"1"), "unknown_parameter", "../../etc"),
    ("an empty file", part("image", b"", filename="a.png"), "invalid_image", "image"),
    ("text for an image", part("image", b"hello, I am text", filename="a.png"), "invalid_image", "image"),
    ("a gif", part("image", gif(), filename="a.png"), "invalid_image", "image"),
    ("a cut jpeg", part("image", jpeg()[:300], filename="a.jpg"), "invalid_image", "image"),
    ("a huge claim", part("image", claiming(60_000, 60_000), filename="a.png"), "image_too_large", "image"),
    ("a bad second image", IMAGE + part("image[]", gif(), filename="b.png"), "invalid_image", "image[1]"),
    ("seventeen images", IMAGE * 17, "invalid_value", "image"),
    ("two masks", IMAGE + part("mask", good_mask(), filename="m.png") * 2, "invalid_value", "mask"),
    ("a mask of another size", IMAGE + part("mask", good_mask(8, 8), filename="m.png"), "invalid_mask", "mask"),
    ("a mask without alpha", IMAGE + part("mask", PNG, filename="m.png"), "invalid_mask", "mask"),
    ("a mask before the image", part("mask", good_mask(8, 8), filename="m") + IMAGE, "invalid_mask", "mask"),
    (
        "a mask with a text bomb",
        IMAGE + part("mask", with_text_bomb(good_mask(), b"zTXt"), filename="m.png"),
        "invalid_image",
        "mask",
    ),
]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_form_that_is_wrong_is_refused_by_the_name_of_the_field(client: httpx.AsyncClient, route: str) -> None:
    kind = part("kind", b"edit") if route == JOBS else b""
    for name, parts, code, param in FORMS:
        error = error_of(await client.post(route, content=PROMPT + kind + parts + END, headers=FORM), status=400)
        assert error["code"] == code, (name, error)
        assert str(error["param"]).startswith(param), (name, error)


async def test_names_of_files_lead_nowhere(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    for filename in ("../../results/x.png", "a\0\\b.png", "\u202egnp.a" + "x" * 3_000):
        body = PROMPT + part("quality", b"low") + part("image", PNG, filename=filename) + END
        answer = await app_client.post(EDITS[1], content=body, headers=FORM)
        assert answer.status_code == 200, (filename, answer.text[:300])
        job = answer.headers["x-darkroom-job"]
        await ended(app_client, job)
        assert stack_storage.requests_of(job) == ["request.json", "result.json", "source-0"]
    assert {file["filename"] for call in stack_model.calls() for file in call["files"]} == {"image.png"}


async def test_a_source_with_a_text_bomb_unpacks_nowhere(
    app_client: httpx.AsyncClient, stack_model: ModelControl, stack_storage: Storage
) -> None:
    bomb = with_text_bomb(PNG, b"zTXt")
    body = PROMPT + part("image", bomb, filename="a.png") + END
    answer = await app_client.post(EDITS[1], content=body, headers=FORM)
    # The app does not look inside a source; the service refuses what it cannot read.
    assert answer.status_code in (200, 400), answer.text[:300]
    assert stack_storage.read(f"requests/{answer.headers['x-darkroom-job']}/source-0") == bomb


def mutations(body: bytes) -> st.SearchStrategy[bytes]:
    """`body` with a piece taken out, doubled or replaced; its prompt field renamed, so that it is never accepted."""

    @st.composite
    def mutated(draw: Any) -> bytes:
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 200)))
        middle = draw(st.sampled_from([b"", body[start:end] * 2]) | st.binary(max_size=20))
        return body[:start] + middle + body[end:]

    return mutated()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(body=mutations(part("prompts", b"a lighthouse") + IMAGE + END), pieces=st.integers(1, 64))
def test_no_damage_to_a_body_is_more_than_refused(stack: StackInfo, body: bytes, pieces: int) -> None:
    def trickle() -> Iterator[bytes]:
        step = max(1, len(body) // pieces)
        for start in range(0, len(body), step):
            yield body[start : start + step]

    with httpx.Client(base_url=stack.app, headers={"x-functions-key": stack.key, **FORM}, timeout=30) as client:
        error_of(client.post(EDITS[1], content=trickle()))
        error_of(client.post(JOBS, content=body))


def test_the_good_form_beside_all_these_is_taken(stack: StackInfo, stack_storage: Storage) -> None:
    with httpx.Client(base_url=stack.app, headers={"x-functions-key": stack.key, **FORM}, timeout=60) as client:
        mask = part("mask", good_mask(), filename="m.png")
        body = PROMPT + part("quality", b"low") + IMAGE + mask + END
        assert client.post(EDITS[1], content=body).status_code == 200
