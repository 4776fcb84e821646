"""The OpenAPI 3.1 document of the app (https://spec.openapis.org/oas/v3.1.1), put together from its parts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from shared.api import answers, money, requests
from shared.api.operation import JSON, Answer, Operation
from shared.api.operations import OPERATIONS
from shared.api.schema import Schema, ref, string
from shared.errors import CODES
from shared.platform import strict_json
from shared.platform.version import VERSION
from shared.settings import Settings, settings

_SEVERAL = (500, 503)
"""Statuses any operation may end with: a fault of the app's own, storage that does not answer."""
_WAITS = (429, 503)
_REASONS = {
    400: "The request is wrong: `param` names the field, `message` the fix",
    401: "No function key (refused by the platform, without a body), or no principal",
    403: "Refused",
    404: "There is no such thing, or it is another caller's",
    408: "The body stopped, or took too long",
    409: "Too late, or too early",
    410: "The job was purged",
    413: "The body is too large",
    415: "The body is of another media type",
    416: "The range lies outside the image",
    422: "The `Idempotency-Key` was used for another request",
    429: "No turn at the model in time, or too many large bodies at once: nothing was started",
    500: "A fault of Darkroom's",
    502: "No answer of the model service, or a broken one",
    503: "Try again later",
    504: "No end in time",
}
_HEADERS: dict[str, Schema] = {
    "Location": string("Absolute: where to ask next, or where what was made is.", format="uri"),
    "Retry-After": {"type": "integer", "minimum": 0, "description": "In how many seconds to ask again."},
    "retry-after-ms": {"type": "integer", "minimum": 1, "description": "In how many milliseconds to ask again."},
    "Preference-Applied": string("`wait=n`"),
    "idempotency-replayed": string("`true`: the answer of an earlier request.", enum=["true"]),
    "x-darkroom-job": string("The job's id.", pattern=answers.JOB_ID),
    "x-darkroom-cost": string("Such as `0.0422 USD`."),
    "x-darkroom-provenance": string("A state for each image, separated by commas."),
    "x-should-retry": string("`false` once the model was called: the official clients then do not repeat."),
    "ETag": string("The sha256 of the image in quotes."),
    "Cache-Control": string(),
    "Accept-Ranges": string(),
    "Content-Range": string(),
}
_KEY_SCHEMES: dict[str, Schema] = {
    "functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
    "functionKeyInQuery": {"type": "apiKey", "in": "query", "name": "code"},
}


def build(configured: Settings | None = None, operations: Iterable[Operation] = OPERATIONS) -> dict[str, Any]:
    """The document of an app with these settings; of one with the defaults, and without an address, by default."""
    configured = configured or Settings()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Darkroom",
            "version": VERSION,
            "description": "Images from GPT-Image: generated, edited, stored with where they come from and what they "
            "cost, and announced.",
        },
        "servers": [{"url": configured.public_base_url or "/"}],
        "security": [{name: []} for name in _KEY_SCHEMES],
        "paths": paths,
        "webhooks": _webhooks(),
        "components": {
            "schemas": {
                **requests.components(configured.max_prompt_chars),
                **answers.components(),
                **money.components(),
            },
            "responses": {str(status): _refusal(status) for status in _REASONS},
            "securitySchemes": _KEY_SCHEMES,
        },
    }


@cache
def served() -> bytes:
    """The document of this app as JSON."""
    return strict_json.encode(build(settings()))


def _operation(operation: Operation) -> dict[str, Any]:
    guarded = () if operation.is_open else (401,)
    refusals = sorted({*operation.errors, *guarded, *_SEVERAL})
    body = {media: {"schema": schema} for media, schema in operation.body.items()}
    return {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        **({"security": []} if operation.is_open else {}),
        **({"parameters": list(operation.parameters)} if operation.parameters else {}),
        **({"requestBody": {"required": True, "content": body}} if body else {}),
        "responses": {
            **{str(status): _answer(answer) for status, answer in operation.answers.items()},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals},
        },
    }


def _answer(answer: Answer) -> dict[str, Any]:
    headers = {
        **{name: {"required": True, **_header(name)} for name in answer.headers},
        **{name: _header(name) for name in answer.may},
    }
    content = {media: {"schema": schema} for media, schema in answer.media.items()}
    return {
        "description": answer.description,
        **({"headers": headers} if headers else {}),
        **({"content": content} if content else {}),
    }


def _header(name: str) -> dict[str, Any]:
    return {"description": _HEADERS[name].get("description", ""), "schema": _HEADERS[name]}


def _refusal(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code, kind in CODES.items() if kind.status == status)
    names = ("x-darkroom-job", "x-should-retry", *(("Retry-After", "retry-after-ms") if status in _WAITS else ()))
    return {
        "description": f"{_REASONS[status]}{f': {codes}' if codes else ''}.",
        "headers": {name: _header(name) for name in names},
        "content": {JSON: {"schema": ref("Error")}},
    }


def _webhooks() -> dict[str, Any]:
    """What Darkroom sends. Events come by way of Event Grid, whose subscriptions are the receiver's."""
    taken = {"2XX": {"description": "It was taken."}}
    told = {
        "jobCallback": ("A job with a `callback_url` ended", JSON, "JobEnded"),
        "jobEnded": ("A job ended that a subscription wants to be told of", JSON, "JobEnded"),
        "jobEvent": ("A job ended", "application/cloudevents+json", "JobEvent"),
        "batchEvent": ("All jobs of a batch ended", "application/cloudevents+json", "BatchEvent"),
    }
    return {
        name: {
            "post": {
                "operationId": name,
                "summary": summary,
                "requestBody": {"required": True, "content": {media: {"schema": ref(schema)}}},
                "responses": taken,
            }
        }
        for name, (summary, media, schema) in told.items()
    }
