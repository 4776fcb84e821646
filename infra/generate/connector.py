"""The connector for Power Automate and Logic Apps: which operations of the API it has, and in what words.

Sources: learn.microsoft.com/connectors/custom-connectors: openapi-extensions, coding-standards, create-webhook-trigger;
the schemas of github.com/microsoft/PowerPlatformConnectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from infra.generate.swagger import Definitions, Schema, body_of, described, entitled, lowered, parameter_of
from shared.api import document

COLOR = "#7A1F2B"
"""The lamp of a darkroom; neither white nor the portal's default."""
HOST = "your-app.azurewebsites.net"
"""Stands in the file; each connection names its own (`dynamichosturl`)."""
_IMPORTANT = {"prompt", "images", "mask", "Idempotency-Key", "id", "statuses", "status"}


@dataclass(frozen=True, slots=True)
class Action:
    """One action or trigger. `fields` are those of the body it shows, `internal` those that are always sent as said
    here and not shown; `parameters` those of path, query and headers."""

    operation: str
    id: str
    summary: str
    description: str
    visibility: str = ""
    parameters: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    internal: Mapping[str, Any] = field(default_factory=dict)
    statuses: tuple[int, ...] = (200,)
    trigger_hint: str = ""


_LOOKS = ("n", "size", "quality", "output_format", "output_compression", "background", "user", "model")
_EDITS = ("images", "mask", "boxes", "input_fidelity")
ACTIONS = (
    Action(
        "imageGenerationsV1",
        "Generate",
        "Generate images",
        "Makes images from words and waits for them, for two minutes at most. For larger ones submit a job.",
        visibility="important",
        parameters=("Idempotency-Key",),
        fields=("prompt", *_LOOKS, "moderation", "metadata"),
        internal={"response_format": "url"},
    ),
    Action(
        "imageEditsV1",
        "Edit",
        "Edit images",
        "Changes images as the words say and waits for them, for two minutes at most. For larger ones submit a job.",
        visibility="important",
        parameters=("Idempotency-Key",),
        fields=("prompt", *_EDITS, *_LOOKS, "metadata"),
        internal={"response_format": "url"},
    ),
    Action(
        "submitJob",
        "Submit",
        "Submit an image job",
        "Makes or edits images however long it takes. The flow goes on when the job has ended, or at once where the "
        "asynchronous pattern is switched off in the settings of the action.",
        visibility="important",
        parameters=("Idempotency-Key",),
        fields=("prompt", "kind", *_EDITS, *_LOOKS, "moderation", "metadata", "callback_url"),
        statuses=(200, 202),
    ),
    Action(
        "getJob",
        "GetJob",
        "Get an image job",
        "Gets a job with links to its images, whatever became of it.",
        parameters=("id",),
    ),
    Action(
        "listJobs",
        "ListJobs",
        "List image jobs",
        "Lists jobs, the newest first.",
        parameters=("status", "limit", "continuation", "batch"),
    ),
    Action(
        "cancelJob",
        "CancelJob",
        "Cancel an image job",
        "Cancels a job that has not ended, or removes what is kept of one that has.",
        parameters=("id", "purge"),
    ),
    Action(
        "estimateCost",
        "Estimate",
        "Estimate the cost of images",
        "Tells tokens and money for a request before it is sent. Nothing is made.",
        fields=("prompt", "kind", *_EDITS, *_LOOKS, "moderation"),
    ),
    Action(
        "subscribe",
        "WhenAJobEnds",
        "When an image job ends",
        "Starts the flow with each job that succeeded, failed or was canceled.",
        visibility="important",
        fields=("url", "statuses"),
        statuses=(201,),
        trigger_hint="To see it work now, submit an image job.",
    ),
    Action(
        "unsubscribe",
        "Unsubscribe",
        "Stop waiting for image jobs",
        "Ends a subscription; the platform does this when a flow is switched off.",
        visibility="internal",
        parameters=("id",),
        statuses=(204,),
    ),
)
_NOTIFICATION = "JobEnded"
_WORDS = {
    "Idempotency-Key": "Requests with the same key are made once. With the id of the flow's run as the key, a step "
    "that the platform repeats is not paid for twice.",
    "size": "Width x height in pixels, or auto. All models take 1024x1024, 1024x1536 and 1536x1024.",
    "quality": "The higher, the slower and dearer. Which of them a model has depends on the model.",
    "statuses": "Which ends start the flow; all of them by default.",
    "status": "Only jobs of this status.",
}
"""Descriptions that say more to the maker of a flow than the API's."""
_DALL_E = {"hd", "standard"}


def definition() -> dict[str, Any]:
    """apiDefinition.swagger.json."""
    source = document.build()
    operations = {
        operation["operationId"]: (path, method, operation)
        for path, methods in source["paths"].items()
        for method, operation in methods.items()
    }
    definitions = Definitions(source["components"]["schemas"])
    paths: dict[str, dict[str, Any]] = {}
    for action in ACTIONS:
        path, method, operation = operations[action.operation]
        item = paths.setdefault(path, {})
        if action.trigger_hint:
            item["x-ms-notification-content"] = {
                "description": "The job that ended.",
                "schema": definitions.ref(_NOTIFICATION),
            }
        item[method] = _operation(action, operation, definitions)
    return {
        "swagger": "2.0",
        "info": {
            "title": source["info"]["title"],
            "description": f"{source['info']['description']} Its host is asked for with each connection.",
            "version": source["info"]["version"],
        },
        "host": HOST,
        "basePath": "/",
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
        "definitions": definitions.found(),
        "securityDefinitions": {"api_key": {"type": "apiKey", "in": "header", "name": "x-functions-key"}},
        "security": [{"api_key": []}],
        "x-ms-connector-metadata": [
            {"propertyName": "Website", "propertyValue": "https://learn.microsoft.com/azure/ai-services/openai/"},
            {
                "propertyName": "Privacy policy",
                "propertyValue": "https://learn.microsoft.com/legal/cognitive-services/openai/data-privacy",
            },
            {"propertyName": "Categories", "propertyValue": "AI;Content and Files"},
        ],
    }


def properties() -> dict[str, Any]:
    """apiProperties.json: a connection asks for the app's host and a function key."""
    return {
        "properties": {
            "iconBrandColor": COLOR,
            "capabilities": [],
            "connectionParameters": {
                "host": _asked(1, "string", "Host", "The app's host name, such as my-app.azurewebsites.net.", True),
                "api_key": _asked(2, "securestring", "Function Key", "A function key of the app.", False),
            },
            "policyTemplateInstances": [
                {
                    "templateId": "dynamichosturl",
                    "title": "Calls the host of the connection",
                    "parameters": {
                        "x-ms-apimTemplateParameter.urlTemplate": "https://@connectionParameters('host')",
                    },
                }
            ],
        }
    }


def _asked(position: int, kind: str, name: str, description: str, shown: bool) -> dict[str, Any]:
    return {
        "type": kind,
        "uiDefinition": {
            "displayName": name,
            "description": description,
            "tooltip": description,
            "constraints": {"tabIndex": position, "clearText": shown, "required": "true"},
        },
    }


def _operation(action: Action, operation: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    known = {one["name"]: one for one in operation.get("parameters", ())}
    parameters = [
        {
            **parameter_of(known[name]),
            **({"description": _WORDS[name]} if name in _WORDS else {}),
            **_visibility(name, known[name].get("required", False)),
        }
        for name in action.parameters
    ]
    if action.fields:
        parameters.append(_body(action, operation, definitions))
    return {
        "operationId": action.id,
        "summary": action.summary,
        "description": action.description,
        **({"x-ms-visibility": action.visibility} if action.visibility else {}),
        **({"x-ms-trigger": "single", "x-ms-trigger-hint": action.trigger_hint} if action.trigger_hint else {}),
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            **{str(status): _response(status, operation["responses"], definitions) for status in action.statuses},
            "default": {"description": "What was wrong.", "schema": definitions.ref("Error")},
        },
    }


def _body(action: Action, operation: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    members, required = body_of(operation["requestBody"]["content"]["application/json"]["schema"], definitions)
    shown: dict[str, Any] = {}
    for name in action.fields:
        member = {**_member(name, members), **_visibility(name, name in required)}
        if action.trigger_hint and name == "url":
            member |= {"x-ms-notification-url": True, "x-ms-visibility": "internal"}
        shown[name] = member
    for name, value in action.internal.items():
        shown[name] = {**entitled(name), **members[name], "default": value, "x-ms-visibility": "internal"}
    return {
        "name": "body",
        "in": "body",
        "required": True,
        "schema": {
            "type": "object",
            "properties": shown,
            "required": [name for name in shown if name in required or name in action.internal],
        },
    }


def _member(name: str, members: Mapping[str, Schema]) -> Schema:
    """A field of a body as a flow's maker fills it in."""
    if name == "images":
        source = _source("Image")
        return {**entitled(name), "type": "array", "items": source, "description": described(members[name])}
    if name == "mask":
        return {**entitled(name), **_source("Mask"), "description": described(members[name])}
    plain = {**entitled(name), **members[name]}
    if "enum" in plain:
        plain["enum"] = [value for value in plain["enum"] if value not in _DALL_E]
    return plain | ({"description": _WORDS[name]} if name in _WORDS else {})


def _source(whose: str) -> Schema:
    """An image: a file's content, which the platform sends as base64, or where it is."""
    members = {
        "data": ("Content", "The content of the file", "byte"),
        "blob": ("Blob", "The container and name of a blob that the app may read", None),
        "url": ("URL", "An https address that the app may fetch from", "uri"),
    }
    return {
        "type": "object",
        "description": "One of content, blob and URL.",
        "properties": {
            name: {
                "x-ms-summary": f"{whose} {title}",
                "description": f"{text}.",
                "type": "string",
                **({"format": kind} if kind else {}),
            }
            for name, (title, text, kind) in members.items()
        },
    }


def _visibility(name: str, required: bool) -> dict[str, str]:
    if required or name in _IMPORTANT:
        return {"x-ms-visibility": "important"}
    return {"x-ms-visibility": "advanced"}


def _response(status: int, responses: Mapping[str, Any], definitions: Definitions) -> dict[str, Any]:
    response = responses[str(status)]
    schema = response.get("content", {}).get("application/json", {}).get("schema")
    headers = {
        name: {"type": one["schema"]["type"], "description": described(one["schema"])}
        for name, one in response.get("headers", {}).items()
        if name in ("Location", "Retry-After")
    }
    return {
        "description": f"{HTTPStatus(status).phrase}.",
        **({"schema": lowered(schema, definitions)} if schema else {}),
        **({"headers": headers} if headers else {}),
    }
