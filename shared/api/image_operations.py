"""Every route by which images are made and read, in the words of docs/api.md: the images API, jobs, what jobs stored,
and batches. `operations` comes in."""

from __future__ import annotations

from shared.api.answers import JOB_ID
from shared.api.operation import (
    EVENTS,
    FORM,
    JSON,
    REFUSED_BODY,
    Answer,
    Operation,
    header,
    json_answer,
    path,
    query,
)
from shared.api.requests import MAX_N
from shared.api.schema import Schema, integer, one_of, ref, string
from shared.images.request import MAX_NAME_CHARS
from shared.jobs.job import Status
from shared.pipeline import following, listing
from shared.pipeline.repeats import MAX_KEY_CHARS

IMAGES, JOBS, BATCHES = "Images", "Jobs", "Batches"

_COSTS = (*REFUSED_BODY, 422)
"""How a request that may cost money is refused."""
_UNFINISHED = (403, 404, 409, 410, 502, 504)
"""What may become of a synchronous one after that; 403 is the model service's."""
_ID = string(pattern=JOB_ID)
_JOB = path("id", "The job.", _ID)
_BATCH = path("id", "The batch.", _ID)
_DEPLOYMENT = path(
    "deployment", "The name of a configured deployment.", string(maxLength=MAX_NAME_CHARS, pattern="^[!-.0-~]+$")
)
_API_VERSION = query("api-version", "Accepted and passed over.", string())
_IMAGE = (path("job", "The job.", _ID), path("index", "Which of its images, from 0.", integer(0, MAX_N - 1)))
_DERIVED = query("derived", "Which of the images that were derived of it, from 0.", integer(0, MAX_N - 1))
_KEY = header(
    "Idempotency-Key",
    "Requests with the same key are one job: later ones get the first one's answer.",
    string(minLength=1, maxLength=MAX_KEY_CHARS, pattern=r"^[!-~]([ -~]*[!-~])?$"),
)
_ID_OF_AN_EVENT = string(pattern=following.ID_PATTERN)
_LAST_EVENT_ID = header(following.LAST_EVENT_ID, "The last one that came: those behind it are told.", _ID_OF_AN_EVENT)
_PREFER = header("Prefer", "`wait=n` waits up to n seconds for the end (RFC 7240).")
_PENDING = ("Location", "Retry-After")
_MADE = Answer(
    "The images, as the model service answers; with `stream`, its events. Cost and provenance are told here where the "
    "whole answer comes from storage; in the job always.",
    {JSON: ref("ImagesAnswer"), EVENTS: {}},
    ("x-darkroom-job",),
    ("x-darkroom-provenance", "x-darkroom-cost", "idempotency-replayed"),
)
_BINARY: Schema = {}
"""Bytes that are no JSON have no schema (OpenAPI 3.1, section 4.8.14.2)."""


def _images(function: str, route: str, edit: bool) -> Operation:
    on_deployment = "{deployment}" in route
    body = {JSON: ref("EditRequest"), FORM: ref("EditForm")} if edit else {JSON: ref("GenerateRequest")}
    what = "Edit images" if edit else "Generate images"
    return Operation(
        function=function,
        method="post",
        path=route,
        tag=IMAGES,
        summary=f"{what} on a deployment" if on_deployment else what,
        description="The images API of Azure OpenAI: the official clients work as they are. Waits for the images, for "
        "`SYNC_BUDGET_SECONDS` at most.",
        parameters=(*((_DEPLOYMENT,) if on_deployment else ()), _API_VERSION, _KEY),
        body=body,
        answers={200: _MADE},
        errors=(*_COSTS, *_UNFINISHED),
    )


_OF_IMAGES = (
    _images("image_generations", "/openai/deployments/{deployment}/images/generations", edit=False),
    _images("image_edits", "/openai/deployments/{deployment}/images/edits", edit=True),
    _images("image_generations_v1", "/openai/v1/images/generations", edit=False),
    _images("image_edits_v1", "/openai/v1/images/edits", edit=True),
)

_OF_JOBS = (
    Operation(
        function="submit_job",
        method="post",
        path="/api/jobs",
        tag=JOBS,
        summary="Submit a job",
        description="Answers at once; `Location` is the poll URL, which needs no key.",
        parameters=(_KEY, _PREFER),
        body={JSON: ref("JobRequest"), FORM: ref("JobForm")},
        answers={
            202: json_answer("The job was accepted.", "Job", _PENDING, ("idempotency-replayed",)),
            200: json_answer(
                "With `Prefer: wait=n`: the job, which has ended.",
                "Job",
                ("Preference-Applied",),
                ("idempotency-replayed",),
            ),
        },
        errors=(*_COSTS, 404),
    ),
    Operation(
        function="list_jobs",
        method="get",
        path="/api/jobs",
        tag=JOBS,
        summary="List jobs",
        description="The caller's jobs, the newest first; those of a batch in the order of its requests. A filtered "
        "page may be short and still have a continuation.",
        parameters=(
            query("status", "Only jobs of this status.", one_of(Status)),
            query("limit", "How many at most.", integer(1, listing.MAX_LIMIT, default=listing.DEFAULT_LIMIT)),
            query(
                "continuation",
                "That of the page before, with the same `status` and `batch`.",
                string(maxLength=listing.MAX_CONTINUATION_CHARS),
            ),
            query("batch", "Only jobs of this batch.", _ID),
        ),
        answers={200: json_answer("A page of jobs.", "JobList")},
        errors=(400, 404),
    ),
    Operation(
        function="get_job",
        method="get",
        path="/api/jobs/{id}",
        tag=JOBS,
        summary="Read a job",
        description="Always 200 for a job there is, whatever became of it.",
        parameters=(_JOB,),
        answers={200: json_answer("The job.", "Job")},
        errors=(400, 404),
    ),
    Operation(
        function="cancel_job",
        method="delete",
        path="/api/jobs/{id}",
        tag=JOBS,
        summary="Cancel or purge a job",
        description="Cancels a job that has not ended. With `purge=true`, removes request, images and sidecars of one "
        "that has.",
        parameters=(_JOB, query("purge", "Remove what is kept of an ended job.", {"type": "boolean"})),
        answers={200: json_answer("The job as it is then.", "Job")},
        errors=(400, 404, 409),
    ),
    Operation(
        function="poll_job",
        method="get",
        path="/api/jobs/{id}/poll",
        tag=JOBS,
        summary="Poll a job",
        description="The `Location` of a submit: 202 until the job has ended, then 200. The token opens this job's "
        "poll and nothing else.",
        parameters=(_JOB, query("token", "The poll URL's own.", string())),
        answers={
            200: json_answer("The job, which has ended.", "Job"),
            202: json_answer("The job, which has not ended.", "Job", _PENDING),
        },
        errors=(400, 403, 404),
        is_open=True,
    ),
    Operation(
        function="get_job_events",
        method="get",
        path="/api/jobs/{id}/events",
        tag=JOBS,
        summary="Follow a job",
        description="Server-sent events: that it runs, the partial and stored images of a job with `stream`, its end "
        "with the job document. Closed after the end, and at times before it: ask again with the last id.",
        parameters=(_JOB, _LAST_EVENT_ID),
        answers={
            200: Answer("The events.", {EVENTS: {}}, ("Cache-Control",)),
            204: Answer("The end was told already: `Last-Event-ID` is its id."),
        },
        errors=(400, 404),
    ),
)

_STORED = dict.fromkeys(("image/png", "image/jpeg", "image/webp"), _BINARY)
_KEPT = ("ETag", "Cache-Control", "Accept-Ranges")
_CONDITIONS = tuple(header(name, "RFC 9110.") for name in ("If-None-Match", "Range", "If-Range"))


def _stored(method: str) -> Operation:
    answers = {
        200: Answer("The stored bytes, untouched.", _STORED if method == "get" else {}, _KEPT),
        304: Answer("The image is the one of `If-None-Match`.", headers=_KEPT),
    }
    if method == "get":
        answers[206] = Answer("The part that `Range` asks for.", _STORED, (*_KEPT, "Content-Range"))
    return Operation(
        function="get_image",
        method=method,
        path="/api/images/{job}/{index}",
        tag=JOBS,
        summary="Download an image" if method == "get" else "Ask for an image's headers",
        description="`ETag` is the sha256 of the bytes.",
        parameters=(*_IMAGE, _DERIVED, *(_CONDITIONS if method == "get" else _CONDITIONS[:1])),
        answers=answers,
        errors=(400, 404, 410, *((416,) if method == "get" else ())),
    )


_OF_STORED_IMAGES = (
    _stored("get"),
    _stored("head"),
    Operation(
        function="get_provenance",
        method="get",
        path="/api/images/{job}/{index}/provenance",
        tag=JOBS,
        summary="Read where an image comes from",
        description="The sidecar: request, model, timings, usage, cost, sha256, the whole C2PA manifest and what its "
        "validation said.",
        parameters=(*_IMAGE, _DERIVED),
        answers={200: json_answer("The sidecar.", "Provenance")},
        errors=(400, 404, 410),
    ),
)

_LINES = string("One JobRequest as JSON to a line.")
_OF_BATCHES = (
    Operation(
        function="submit_batch",
        method="post",
        path="/api/batches",
        tag=BATCHES,
        summary="Submit a batch",
        description="Many requests, checked as a whole; each becomes one job.",
        parameters=(_KEY,),
        body={JSON: ref("BatchRequest"), "application/jsonl": _LINES, "application/x-ndjson": _LINES},
        answers={202: json_answer("The batch.", "Batch", may=("Retry-After", "idempotency-replayed"))},
        errors=(*_COSTS, 404),
    ),
    Operation(
        function="get_batch",
        method="get",
        path="/api/batches/{id}",
        tag=BATCHES,
        summary="Read a batch",
        description="How many of its jobs ended, and how.",
        parameters=(_BATCH,),
        answers={200: json_answer("The batch.", "Batch", may=("Retry-After",))},
        errors=(400, 404),
    ),
    Operation(
        function="cancel_batch",
        method="delete",
        path="/api/batches/{id}",
        tag=BATCHES,
        summary="Cancel a batch",
        description="Cancels all of it that has not ended.",
        parameters=(_BATCH,),
        answers={200: json_answer("The batch as it is then.", "Batch", may=("Retry-After",))},
        errors=(400, 404, 409),
    ),
)

OF_IMAGES: tuple[Operation, ...] = (*_OF_IMAGES, *_OF_JOBS, *_OF_STORED_IMAGES, *_OF_BATCHES)
