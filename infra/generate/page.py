"""docs/openapi.html: the API to browse, one file that fetches nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem 2rem; color: #222; }
h1, h2 { font-weight: 600; } h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; }
details { border: 1px solid #ddd; border-radius: 4px; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } code { font: 13px ui-monospace, monospace; }
.method { display: inline-block; width: 4.2rem; font-weight: 700; color: #7a1f2b; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
td, th { border-top: 1px solid #eee; padding: .25rem .5rem; text-align: left; vertical-align: top; }
td:first-child { white-space: nowrap; } .type { color: #555; } .need { color: #7a1f2b; }
@media (prefers-color-scheme: dark) {
  body { background: #1b1b1b; color: #ddd; } td, th, details, h2 { border-color: #444; }
  a { color: #ffb9a8; } .method, .need { color: #ff9b86; } .type { color: #aaa; } }
""".strip()

_INTRODUCTION = (
    "Each app serves this as OpenAPI 3.1 at <code>GET /api/openapi.json</code>; what stands behind it is told in "
    '<a href="api.md">api.md</a>. Where a lock is shown, a function key is asked for: the header '
    "<code>x-functions-key</code>, or <code>?code=</code>."
)


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    title = _text(document["info"]["title"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: the API</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>{_words(document['info']['description'])}</p>",
            f"<p>{_INTRODUCTION}</p>",
            *_operations(document),
            "<h2>What Darkroom sends</h2>",
            *_webhooks(document["webhooks"]),
            "<h2>Schemas</h2>",
            *_schemas(document["components"]["schemas"]),
            "</body></html>",
            "",
        ]
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"<h2>{_text(tag)}</h2>"
            yield from _operation(document, method, path, operation)


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    lock = "" if operation.get("security") == [] else " 🔒"
    yield f'<details id="{operation["operationId"]}"><summary><span class="method">{method.upper()}</span>'
    yield f"<code>{_text(path)}</code> {_words(operation['summary'])}{lock}</summary>"
    yield f"<p>{_words(operation['description'])}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter<th>In<th>Type<th></tr>"
        for one in parameters:
            need = _need(one.get("required", False))
            about = f"{_words(one.get('description', ''))} {_limits(one['schema'])}"
            yield f"<tr><td><code>{_text(one['name'])}</code>{need}<td>{one['in']}"
            yield f"<td class=type>{_type(one['schema'])}<td>{about}</tr>"
        yield "</table>"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body <code>{media}</code>: {_type(content['schema'])}</p>"
    yield "<table><tr><th>Status<th>Body<th></tr>"
    for status, answer in operation["responses"].items():
        found = document["components"]["responses"][status] if "$ref" in answer else answer
        bodies = "<br>".join(
            _type(content["schema"]) if content["schema"] else f"<code>{media}</code>"
            for media, content in found.get("content", {}).items()
        )
        headers = ", ".join(f"<code>{name}</code>" for name in found.get("headers", {}))
        yield f"<tr><td>{status}<td>{bodies}<td>{_words(found['description'])} {headers}</tr>"
    yield "</table></details>"


def _webhooks(webhooks: Mapping[str, Any]) -> Iterator[str]:
    yield "<table>"
    for item in webhooks.values():
        sent = item["post"]
        for media, content in sent["requestBody"]["content"].items():
            yield f"<tr><td>{_type(content['schema'])}<td><code>{media}</code><td>{_words(sent['summary'])}</tr>"
    yield "</table>"


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f'<details id="{name}"><summary><code>{name}</code> {_words(schema.get("description", ""))}</summary>'
        if "properties" in schema:
            yield "<table>"
            for member, one in schema["properties"].items():
                need = _need(member in schema.get("required", ()))
                yield f"<tr><td><code>{member}</code>{need}<td class=type>{_type(one)}"
                yield f"<td>{_words(one.get('description', ''))} {_limits(one)}</tr>"
            yield "</table>"
        else:
            yield f"<p class=type>{_type(schema)} {_limits(schema)}</p>"
        yield "</details>"


def _type(schema: Mapping[str, Any]) -> str:
    """The kind of a value in a few words; null is told by what is required."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema and "properties" not in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    types = schema.get("type", "any")
    named = [types] if isinstance(types, str) else types
    return " or ".join(_named(one, schema) for one in named)


def _named(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "properties" in schema:
        members = ", ".join(f"{_text(name)}: {_type(one)}" for name, one in schema["properties"].items())
        return f"{{{members}}}"
    if "enum" in schema and kind != "null":
        return " | ".join(f"<code>{_text(str(value))}</code>" for value in schema["enum"] if value is not None)
    return f"{kind} ({schema['format']})" if "format" in schema and kind != "null" else kind


def _limits(schema: Mapping[str, Any]) -> str:
    names = ("default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties")
    found = [f"{name} <code>{_text(str(schema[name]))}</code>" for name in names if name in schema]
    return f"<span class=type>{', '.join(found)}</span>" if found else ""


def _need(required: bool) -> str:
    return ' <span class=need title="required">*</span>' if required else ""


def _text(text: str) -> str:
    return html.escape(text)


def _words(text: str) -> str:
    """Prose with its `code`."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
