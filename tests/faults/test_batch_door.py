"""POST /api/batches: what is taken, and what is refused as a whole with the place of what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from functions import batches as door
from functions import jobs
from shared.jobs.batch import Batch
from shared.pipeline import batches as pipeline
from tests.support import batches
from tests.support.app_in_process import App, deployment
from tests.support.batches import REQUEST
from tests.support.doors import call

LINES = "application/jsonl"


def lines(*values: Any) -> bytes:
    return "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values).encode()


async def refused(app: App, body: Any, status: int = 400, *, kind: str = "") -> dict[str, Any]:
    """The error; nothing of the batch was stored."""
    error: dict[str, Any] = (await batches.post(body, status, kind=kind))["error"]
    assert (app.storage.rows("jobs"), app.storage.blobs("requests"), await batches.messages("image-batches")) == (
        [],
        [],
        [],
    )
    return error


async def test_an_accepted_batch_is_answered_with_its_document(app: App) -> None:
    answer = await call(door.submit_batch, json.dumps([REQUEST, REQUEST]).encode())
    document = json.loads(bytes(answer.body))
    base = "http://127.0.0.1:7071/api"

    assert answer.status_code == 202
    assert "location" not in answer.headers
    assert answer.headers["retry-after"] == "10"
    assert document == {
        "id": document["id"],
        "status": "running",
        "owner": "key",
        "created_at": document["created_at"],
        "finished_at": None,
        "cancel_requested": False,
        "counts": {"total": 2, "pending": 2, "succeeded": 0, "failed": 0, "canceled": 0},
        "metadata": {},
        "links": {
            "self": f"{base}/batches/{document['id']}",
            "jobs": f"{base}/jobs?batch={document['id']}",
            "cancel": f"{base}/batches/{document['id']}",
        },
    }
    assert await batches.get(document["id"]) == document
    assert await batches.messages("image-batches") == [{"batch_id": document["id"]}]


async def test_a_thousand_requests_are_taken_and_one_more_is_not(app: App) -> None:
    error = await refused(app, [REQUEST] * 1001)
    taken = await batches.post([REQUEST] * 1000)
    in_lines = await batches.post(lines(*[REQUEST] * 1000) + b"\n", kind=LINES)
    too_many = (await batches.post(lines(*[REQUEST] * 1001), 400, kind=LINES))["error"]

    assert (error["code"], error["param"]) == ("invalid_value", "requests")
    assert taken["counts"]["total"] == in_lines["counts"]["total"] == 1000
    assert "1000" in too_many["message"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ([], "invalid_value", "requests"),
        ({"requests": []}, "invalid_value", "requests"),
        ({}, "missing_required_parameter", "requests"),
        ({"requests": None}, "missing_required_parameter", "requests"),
        ({"requests": {"prompt": "x"}}, "invalid_type", "requests"),
        ({"requests": [REQUEST], "webhook": "x"}, "unknown_parameter", "webhook"),
        ({"requests": [REQUEST], "metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ("text", "invalid_type", None),
        ([REQUEST, 7], "invalid_type", "requests[1]"),
        ([REQUEST, None], "invalid_type", "requests[1]"),
        ([REQUEST, {**REQUEST, "size": "7x7"}], "invalid_value", "requests[1].size"),
        ([{**REQUEST, "seed": 1}], "unknown_parameter", "requests[0].seed"),
        ([{**REQUEST, "id": "1"}], "unknown_parameter", "requests[0].id"),
        ([{**REQUEST, "partial_images": 2}], "invalid_value", "requests[0].partial_images"),
        ([{**REQUEST, "callback_url": "https://example.com/x"}], None, "requests[0].callback_url"),
    ],
)
async def test_what_is_wrong_refuses_the_whole_and_names_its_place(
    app: App, body: Any, code: str | None, param: str | None
) -> None:
    error = await refused(app, body)

    assert error["param"] == param
    assert code in (None, error["code"])


async def test_an_unknown_deployment_is_named_with_its_own_status(app: App) -> None:
    error = await refused(app, [REQUEST, {**REQUEST, "model": "nobody"}], 404)

    assert (error["code"], error["param"]) == ("deployment_not_found", "requests[1].model")


async def test_the_first_wrong_request_is_explained_and_some_more_are_named(app: App) -> None:
    body = [REQUEST, *[{**REQUEST, "n": number} for number in (0, 99, "x")]]
    error = await refused(app, body)

    assert error["param"] == "requests[1].n"
    assert error["message"].endswith("Wrong too: requests[2].n, requests[3].n.")


@pytest.mark.parametrize(
    ("body", "line", "param"),
    [
        (lines(REQUEST, "", "{no json"), "Line 3", None),
        (lines(REQUEST, "", {**REQUEST, "n": 99}), "Line 3, requests[1]: ", "requests[1].n"),
        (lines("[1,"), "Line 1", None),
        (lines(REQUEST, "NaN"), "Line 2", None),
        (lines(REQUEST) + b"\n\xff\xfe", "Line 2", None),
        (lines(REQUEST, [REQUEST]), "Line 2, requests[1]: ", "requests[1]"),
    ],
)
async def test_json_lines_are_refused_with_the_number_of_the_line(
    app: App, body: bytes, line: str, param: str | None
) -> None:
    error = await refused(app, body, kind=LINES)

    assert error["message"].startswith(line)
    assert error["param"] == param


@pytest.mark.parametrize("kind", ["application/jsonl", "application/x-ndjson", "application/json-lines; charset=utf-8"])
@pytest.mark.parametrize("body", [lines(REQUEST, REQUEST), b"\xef\xbb\xbf" + lines(REQUEST, "", REQUEST, "", "")])
async def test_json_lines_are_a_batch_whatever_ends_them(app: App, kind: str, body: bytes) -> None:
    batch = await batches.post(body.replace(b"\n", b"\r\n"), kind=kind)

    assert batch["counts"]["total"] == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[", "application/json", 400),
        (b"", "application/json", 400),
        (b"", "application/jsonl", 400),
        (b"\n\n", "application/jsonl", 400),
        (b"\n" * 5000, "application/jsonl", 400),
        (b"[]", "text/plain", 415),
        (b"prompt=x", "multipart/form-data", 415),
    ],
)
async def test_a_body_that_is_no_batch_is_refused(app: App, body: bytes, kind: str, status: int) -> None:
    error = await refused(app, body, status, kind=kind)
    assert ("application/jsonl," in error["message"]) == (status == 415)


async def test_a_body_over_the_limit_is_a_413_in_lines_too(app: App, configure: Callable[..., None]) -> None:
    configure([deployment(app.model.url)], MAX_REQUEST_BYTES="2000")
    for kind in ("application/json", "application/jsonl"):
        error = await refused(app, b" " * 2001, 413, kind=kind)
        assert error["code"] == "request_too_large"


@pytest.mark.parametrize("function", [door.submit_batch, door.get_batch, door.cancel_batch])
async def test_unknown_query_parameters_are_refused_by_name(app: App, function: Any) -> None:
    batch = await batches.post([REQUEST])
    answer = await call(function, b"[]", path_params={"id": batch["id"]}, query={"limit": "5"})

    assert answer.status_code == 400
    assert json.loads(bytes(answer.body))["error"]["param"] == "limit"


async def test_the_same_key_and_requests_are_the_same_batch_in_json_or_in_lines(app: App) -> None:
    first = await batches.post([REQUEST, REQUEST], key="order-1017")
    again = await call(
        door.submit_batch,
        lines(REQUEST, REQUEST),
        headers={"idempotency-key": "order-1017", "content-type": "application/jsonl"},
    )
    other = (await batches.post([REQUEST], 422, key="order-1017"))["error"]

    assert json.loads(bytes(again.body))["id"] == first["id"]
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert other["code"] == "idempotency_key_reused"
    assert len(batches.rows_of(app, "b")) == 1


async def test_posts_with_one_key_at_the_same_time_are_one_batch(app: App) -> None:
    answers = await asyncio.gather(*(batches.post([REQUEST], key="k") for _ in range(8)))

    assert len({answer["id"] for answer in answers}) == 1
    assert len(batches.rows_of(app, "b")) == 1
    assert len(app.storage.blobs("requests")) == 1, "what the others wrote is gone"


async def test_a_batch_of_one_request_is_not_the_job_of_that_request(app: App) -> None:
    """A key belongs to one request: a batch and a job of the same words differ."""
    await batches.post([REQUEST], key="k")
    answer = await call(jobs.submit_job, json.dumps(REQUEST).encode(), headers={"idempotency-key": "k"})

    assert answer.status_code == 422


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_REQUEST = st.dictionaries(st.sampled_from([*REQUEST, "n", "images", "metadata", "id"]), _JSON) | st.just(REQUEST)
_BODY = (
    st.binary(max_size=60)
    | _JSON.map(lambda data: json.dumps(data).encode())
    | st.lists(_REQUEST, max_size=4).map(lambda data: json.dumps(data).encode())
    | st.lists(_REQUEST, max_size=4).map(lambda data: json.dumps({"requests": data}).encode())
    | st.lists(_REQUEST | _JSON | st.text(max_size=9), max_size=4).map(lambda data: lines(*data))
)


async def test_no_body_makes_the_door_fail(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    async def submit(checked: pipeline.Checked, *_: Any) -> pipeline.Submitted:
        taken.append(len(checked.lines))
        batch = Batch("0" * 26, "key", datetime.now(UTC), len(checked.lines))
        return pipeline.Submitted(batch, joined=False)

    monkeypatch.setattr(pipeline, "submit", submit)

    @effort(max_examples=100)
    @given(_BODY, st.sampled_from(["application/json", "application/jsonl"]))
    @example(lines(REQUEST), "application/jsonl")
    def each(body: bytes, kind: str) -> None:
        answer = asyncio.run(call(door.submit_batch, body, headers={"content-type": kind}))
        assert answer.status_code in (202, 400), bytes(answer.body)
        document = json.loads(bytes(answer.body))
        assert document["error"]["message"] if answer.status_code == 400 else taken[-1] >= 1

    await asyncio.to_thread(each)
    assert taken, "some bodies are good"
