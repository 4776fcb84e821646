"""The running app against its own OpenAPI document: requests made of the document meet no 5xx, and nothing is answered
that the document does not have. Objects count as closed here, though callers have to bear new members."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from local.state import StackInfo
from shared.api.operations import OPERATIONS, Operation
from tests.support.photographs import mask, photograph
from tests.support.schemas import strict
from tests.support.storage import Storage
from tests.support.waiting import eventually

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = 5
REQUEST = {"prompt": "a lighthouse", "quality": "low"}
NEVER_AN_ID = "0" * 26


@dataclass(frozen=True, slots=True)
class Known:
    """What there is on the stack: ids that open something."""

    job: str
    batch: str
    subscription: str

    def of(self, path: str) -> str:
        kinds = {"batches": self.batch, "subscriptions": self.subscription}
        return kinds.get(path.split("/")[2], self.job)


@pytest.fixture(scope="module")
def client(session_stack: StackInfo) -> Iterator[httpx.Client]:
    headers = {"x-functions-key": session_stack.key}
    with httpx.Client(base_url=session_stack.app, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def described(client: httpx.Client) -> BaseSchema:
    """The document the app serves, by which its answers are checked."""
    return schemathesis.openapi.from_dict(strict(client.get("/api/openapi.json").json()))


@pytest.fixture(scope="module")
def known(client: httpx.Client, session_stack: StackInfo) -> Iterator[Known]:
    job = client.post("/api/jobs", json={**REQUEST, "n": 2}, headers={"prefer": "wait=60"}).json()
    assert job["status"] == "succeeded"
    batch = client.post("/api/batches", json=[REQUEST]).json()
    subscription = client.post("/api/subscriptions", json={"url": "https://127.0.0.1:9/hook"}).json()
    yield Known(job["id"], batch["id"], subscription["id"])
    # The tests of the next file are to find no jobs at work, and nobody to be told of theirs.
    client.delete(f"/api/subscriptions/{subscription['id']}").raise_for_status()
    storage = Storage(session_stack.blob, session_stack.table)
    asyncio.run(eventually(lambda: not storage.live_jobs(), within=60, what="the end of the jobs"))


def fuzz(operation: Operation, mode: GenerationMode, described: BaseSchema, stack: StackInfo, known: Known) -> None:
    """Requests of the document (or, in the negative mode, just beside it), each answer checked."""
    strategy = described[operation.path][operation.method.upper()].as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=strategy, hit=st.booleans())
    def check(case: schemathesis.Case, hit: bool) -> None:
        for name, value in case.path_parameters.items():
            # What is no one segment of a path is answered before the app is asked, by the platform's router.
            segment = unquote(str(value))
            assume(segment.isprintable() and segment.strip(".") and not set("/\\") & set(segment))
            if hit and name in ("id", "job") and operation.method != "delete":  # what is known is needed again
                case.path_parameters[name] = known.of(operation.path)
        if isinstance(case.body, dict) and isinstance(case.body.get("n"), int):
            case.body["n"] = min(case.body["n"], 1)  # drawing ten pictures would show nothing more
        response = case.call(base_url=stack.app, headers={"x-functions-key": stack.key}, timeout=60)
        case.validate_response(response, checks=CHECKS)

    check()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_requests_of_the_document_are_answered_by_the_document(
    operation: Operation, described: BaseSchema, session_stack: StackInfo, known: Known
) -> None:
    fuzz(operation, GenerationMode.POSITIVE, described, session_stack, known)
    if operation.parameters or operation.body:
        fuzz(operation, GenerationMode.NEGATIVE, described, session_stack, known)


def good_calls(client: httpx.Client, known: Known) -> dict[str, list[httpx.Response]]:
    """Answers of every operation at work, by its id; the job of `known` is purged in the end."""

    def ask(method: str, url: str, **options: Any) -> httpx.Response:
        request = client.build_request(method, url, **options)
        request.read()  # the checks look at what was sent
        return client.send(request)

    images = [{"data": base64.b64encode(photograph()).decode()}]
    files = {"image": ("a.png", photograph(), "image/png"), "mask": ("m.png", mask(), "image/png")}
    streamed = {"stream": True, "partial_images": 1}
    on_deployment = "/openai/deployments/gpt-image-1/images"
    image = f"/api/images/{known.job}/0"
    waiting = {"prefer": "wait=60", "idempotency-key": f"openapi-{time.time_ns()}"}
    job = ask("POST", "/api/jobs", json=REQUEST)
    subscription = ask("POST", "/api/subscriptions", json={"url": "https://127.0.0.1:9/a", "statuses": ["failed"]})
    found = {
        "imageGenerations": [ask("POST", f"{on_deployment}/generations", json={**REQUEST, "style": "vivid", "n": 2})],
        "imageEdits": [
            ask("POST", f"{on_deployment}/edits", files=files, data=REQUEST),
            ask("POST", f"{on_deployment}/edits", files=files, data={**REQUEST, **streamed}),
        ],
        "imageGenerationsV1": [
            ask("POST", "/openai/v1/images/generations", json={**REQUEST, "response_format": "url"}),
            ask("POST", "/openai/v1/images/generations", json={**REQUEST, **streamed}),
            ask("POST", "/openai/v1/images/generations", json={**REQUEST, "size": "7x7"}),
        ],
        "imageEditsV1": [ask("POST", "/openai/v1/images/edits", json={**REQUEST, "images": images})],
        "submitJob": [
            job,
            ask("POST", "/api/jobs", json={**REQUEST, "images": images, "metadata": {"a": "b"}}, headers=waiting),
            ask("POST", "/api/jobs", files=files, data=REQUEST),
        ],
        "pollJob": [ask("GET", job.headers["location"]), ask("GET", f"/api/jobs/{known.job}/poll?token=x")],
        "listJobs": [ask("GET", "/api/jobs?limit=3&status=succeeded"), ask("GET", f"/api/jobs?batch={known.batch}")],
        "getJob": [ask("GET", f"/api/jobs/{known.job}"), ask("GET", f"/api/jobs/{NEVER_AN_ID}")],
        "getJobEvents": [
            ask("GET", f"/api/jobs/{known.job}/events"),
            ask("GET", f"/api/jobs/{known.job}/events", headers={"last-event-id": "end"}),
            ask("GET", f"/api/jobs/{known.job}/events", headers={"last-event-id": "7"}),
        ],
        "getImage": [
            ask("GET", image),
            ask("GET", image, headers={"range": "bytes=0-9"}),
            ask("GET", image, headers={"range": "bytes=999999999-"}),
            ask("GET", image, headers={"if-none-match": "*"}),
        ],
        "headImage": [ask("HEAD", image)],
        "getProvenance": [ask("GET", f"{image}/provenance")],
        "submitBatch": [
            ask("POST", "/api/batches", json={"requests": [REQUEST], "metadata": {"a": "b"}}),
            ask("POST", "/api/batches", content='{"prompt": "a"}', headers={"content-type": "application/jsonl"}),
        ],
        "getBatch": [ask("GET", f"/api/batches/{known.batch}")],
        "cancelBatch": [ask("DELETE", f"/api/batches/{known.batch}")],
        "createUpload": [ask("POST", "/api/uploads", json={"files": ["image.png", "request.json"]})],
        "estimateCost": [
            ask("POST", "/api/estimates", json=REQUEST),
            ask("POST", "/api/estimates", json=[REQUEST, {**REQUEST, "images": [{"url": "https://a.example/b"}]}]),
        ],
        "getUsage": [ask("GET", "/api/usage"), ask("GET", "/api/usage?group_by=day")],
        "subscribe": [subscription],
        "listSubscriptions": [ask("GET", "/api/subscriptions")],
        "getSubscription": [ask("GET", f"/api/subscriptions/{known.subscription}")],
        "unsubscribe": [ask("DELETE", subscription.headers["location"])],
        "getHealth": [ask("GET", "/api/health")],
        "getHealthDetails": [ask("GET", "/api/health/details")],
        "getOpenapi": [ask("GET", "/api/openapi.json")],
    }
    found["cancelJob"] = [
        ask("DELETE", f"/api/jobs/{known.job}"),
        ask("DELETE", f"/api/jobs/{known.job}?purge=true"),
    ]
    found["getImage"].append(ask("GET", image))
    return found


def test_every_operation_at_work_answers_what_the_document_says(
    client: httpx.Client, described: BaseSchema, known: Known
) -> None:
    found = good_calls(client, known)

    assert found.keys() == {operation.id for operation in OPERATIONS}
    for operation in OPERATIONS:
        statuses = {answer.status_code for answer in found[operation.id]}
        may_have_ended = {409} if operation.id == "cancelBatch" else set()
        assert statuses & (operation.answers.keys() | may_have_ended), (operation.id, statuses)
        parameters = dict.fromkeys(re.findall(r"{(\w+)}", operation.path), "0")
        case = described[operation.path][operation.method.upper()].Case(path_parameters=parameters)
        for answer in found[operation.id]:
            case.validate_response(answer, checks=CHECKS)
