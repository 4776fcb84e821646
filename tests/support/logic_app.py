"""Runs the workflow definitions of infra/workflows against the stack, as Logic Apps would, as far as they need it.

Known are the actions and functions that they use; anything else is an error, so that a workflow cannot come to rely on
what was never run. Language: https://learn.microsoft.com/azure/logic-apps/logic-apps-workflow-definition-language
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import httpx

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>\d+)|(?P<name>\w+)|(?P<mark>\?\.|\?\[|[\[\](),.]))")


class TimedOutError(Exception):
    """Nobody called back in time."""


@dataclass(slots=True)
class Run:
    """One run of a workflow. `credentials` maps the audience of a token to the headers that stand for it here.
    `callback` is what `listCallbackUrl()` gives and what waits for it to be called; it may raise `TimedOutError`."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    trigger: Any
    credentials: Mapping[str, Mapping[str, str]]
    client: httpx.AsyncClient
    callback: tuple[str, Callable[[], Awaitable[Any]]] | None = None
    name: str = "08584"
    results: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Status and body of each action."""
    calls: list[httpx.Request] = field(default_factory=list)
    connected: list[dict[str, Any]] = field(default_factory=list)
    """What was asked of managed connections."""
    response: tuple[int, Any] | None = None

    async def go(self) -> Run:
        await self._actions(self.definition["actions"])
        return self

    async def _actions(self, actions: Mapping[str, Any]) -> None:
        left = dict(actions)
        while left:
            ready = [name for name, one in left.items() if one.get("runAfter", {}).keys().isdisjoint(left)]
            assert ready, "these actions wait for each other"
            for name in ready:
                action = left.pop(name)
                wanted = action.get("runAfter", {})
                if all(self.results[before][0] in statuses for before, statuses in wanted.items()):
                    self.results[name] = await self._action(action)
                else:
                    self.results[name] = ("Skipped", None)

    async def _action(self, action: Mapping[str, Any]) -> tuple[str, Any]:
        inputs = action.get("inputs")
        match action["type"]:
            case "Compose":
                return "Succeeded", self.value(inputs)
            case "Http":
                return await self._http(self.value(inputs))
            case "HttpWebhook":
                return await self._webhook(self.value(inputs["subscribe"]))
            case "If":
                holds = self._condition(action["expression"])
                await self._actions(action["actions"] if holds else action.get("else", {}).get("actions", {}))
                return "Succeeded", None
            case "Response":
                found = self.value(inputs)
                self.response = (found["statusCode"], found["body"])
                return "Succeeded", found["body"]
            case "ApiConnection":
                self.connected.append(self.value(inputs))
                return "Succeeded", None
            case other:
                raise NotImplementedError(other)

    async def _http(self, inputs: Mapping[str, Any]) -> tuple[str, Any]:
        answer = await self._send(inputs)
        while answer.status_code == 202 and "location" in answer.headers:
            await asyncio.sleep(0.1)  # the platform waits for Retry-After
            answer = await self._send({"method": "GET", "uri": answer.headers["location"]})
        is_json = "json" in answer.headers.get("content-type", "")
        body = answer.json() if is_json and answer.content else answer.content
        return ("Succeeded" if answer.status_code < 400 else "Failed"), body

    async def _webhook(self, subscribe: Mapping[str, Any]) -> tuple[str, Any]:
        assert self.callback is not None
        answer = await self._send(subscribe)
        assert answer.is_success, answer.text
        try:
            return "Succeeded", await self.callback[1]()
        except TimedOutError:
            return "TimedOut", None

    async def _send(self, inputs: Mapping[str, Any]) -> httpx.Response:
        credential: Mapping[str, str] = {}
        if authentication := inputs.get("authentication"):
            assert authentication["type"] == "ManagedServiceIdentity"
            credential = self.credentials[authentication["audience"]]
        body = inputs.get("body")
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        headers = {**({"content-type": "application/json"} if content else {}), **_lower(inputs.get("headers", {}))}
        request = self.client.build_request(
            inputs["method"],
            inputs["uri"],
            params=inputs.get("queries"),
            headers={**headers, **credential},
            content=content,
        )
        self.calls.append(request)
        return await self.client.send(request)

    def _condition(self, expression: Mapping[str, Any]) -> bool:
        [(word, given)] = expression.items()
        if word == "not":
            return not self._condition(given)
        assert word == "equals"
        left, right = (self.value(one) for one in given)
        return bool(left == right)

    # -- expressions

    def value(self, written: Any) -> Any:
        """What is `written` in a definition, its expressions worked out."""
        if isinstance(written, dict):
            return {name: self.value(one) for name, one in written.items()}
        if isinstance(written, list):
            return [self.value(one) for one in written]
        if not isinstance(written, str):
            return written
        if written.startswith("@") and not written.startswith("@{"):
            return self._evaluate(written[1:])
        return re.sub(r"@\{((?:[^{}']|'[^']*')*)\}", lambda found: str(self._evaluate(found[1])), written)

    def _evaluate(self, text: str) -> Any:
        found, at = self._expression(text, 0)
        assert not text[at:].strip(), text[at:]
        return found

    def _expression(self, text: str, at: int) -> tuple[Any, int]:
        token = _TOKEN.match(text, at)
        assert token, text[at:]
        at = token.end()
        value: Any
        if token["text"]:
            value = token["text"][1:-1].replace("''", "'")
        elif token["number"]:
            value = int(token["number"])
        else:
            arguments, at = self._arguments(text, at)
            value = self._call(token["name"], arguments)
        while (mark := _TOKEN.match(text, at)) and mark["mark"] in ("?[", "[", ".", "?."):
            if mark["mark"].endswith("["):
                key, at = self._expression(text, mark.end())
                at += 1
            else:
                name = _TOKEN.match(text, mark.end())
                assert name
                key, at = name["name"], name.end()
            value = None if value is None and mark["mark"][0] == "?" else _member(value, key, mark["mark"][0] == "?")
        return value, at

    def _arguments(self, text: str, at: int) -> tuple[list[Any], int]:
        assert text[at] == "(", text[at:]
        at += 1
        arguments: list[Any] = []
        while text[at] != ")":
            value, at = self._expression(text, at)
            arguments.append(value)
            at += text[at] == ","
        return arguments, at + 1

    def _call(self, name: str, given: list[Any]) -> Any:
        own: dict[str, Callable[..., Any]] = {
            "parameters": lambda name: self.parameters[name],
            "triggerBody": lambda: self.trigger,
            "workflow": lambda: {"run": {"name": self.name}},
            "body": lambda name: self.results[name][1],
            "outputs": lambda name: self.results[name][1],
            "listCallbackUrl": lambda: self.callback[0] if self.callback else None,
        }
        return (own.get(name) or _FUNCTIONS[name])(*given)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64ToBinary": base64.b64decode,
    "base64ToString": lambda text: base64.b64decode(text, validate=True).decode(),
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "encodeURIComponent": lambda text: quote(text, safe=""),
    "first": lambda values: values[0],
    "if": lambda condition, yes, no: yes if condition else no,
    "json": json.loads,
    "startsWith": lambda text, start: text.lower().startswith(start.lower()),
    "utcNow": lambda form: formatdate(usegmt=True) if form == "R" else None,
}


def _member(holder: Any, key: Any, may_miss: bool) -> Any:
    return holder.get(key) if may_miss and isinstance(holder, dict) else holder[key]


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
