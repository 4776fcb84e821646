"""A flow's side of the connector: knows the definition file and a connection, and nothing else of the app."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import jsonschema

from infra.generate.__main__ import ROOT

_DEFINITION = ROOT / "infra" / "connector" / "apiDefinition.swagger.json"


class Connection:
    """Runs the operations of the definition, as the platform would, at `host` with `key`."""

    def __init__(self, host: str, key: str) -> None:
        self.definition: dict[str, Any] = json.loads(_DEFINITION.read_text())
        [scheme] = self.definition["securityDefinitions"].values()
        self._base = f"{host}{self.definition['basePath'].rstrip('/')}"
        self._client = httpx.AsyncClient(headers={scheme["name"]: key}, timeout=60, trust_env=False)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def run(self, operation_id: str, /, *, notify: str | None = None, **values: Any) -> tuple[int, Any]:
        """Status and body of an action, once it has ended; `notify` is the address of a flow that a trigger starts.

        Raises what is wrong with the values or the answer by the definition.
        """
        path, method, operation = self._find(operation_id)
        sent: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        body = None
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "body":
                body = self._body(parameter["schema"], values, notify)
            elif parameter["name"] in values:
                value = values.pop(parameter["name"])
                self._check(value, {name: parameter[name] for name in ("type", "enum") if name in parameter})
                sent[parameter["in"]][parameter["name"]] = json.dumps(value) if isinstance(value, bool) else value
            else:
                assert not parameter["required"], parameter["name"]
        assert not values, f"{operation_id} has no {', '.join(values)}"
        answer = await self._client.request(
            method, self._base + path.format(**sent["path"]), params=sent["query"], headers=sent["header"], json=body
        )
        return await self._answered(operation, answer)

    async def _answered(self, operation: Mapping[str, Any], answer: httpx.Response) -> tuple[int, Any]:
        """The answer in the end: 202 is asked again at its `Location`, without the key."""
        while True:
            described = operation["responses"].get(str(answer.status_code), operation["responses"]["default"])
            for name in described.get("headers", {}):
                assert name in answer.headers, name
            found = answer.json() if answer.content else None
            if "schema" in described:
                self._check(_without_nulls(found), described["schema"])
            if answer.status_code != 202:
                return answer.status_code, found if answer.status_code != 201 else (found, answer.headers["location"])
            await asyncio.sleep(0.1)  # the platform waits for Retry-After
            async with httpx.AsyncClient(timeout=60, trust_env=False) as keyless:
                answer = await keyless.get(answer.headers["location"])

    async def delete(self, location: str) -> int:
        """What the platform does when a flow with a trigger is switched off: the operation that is described there."""
        path = location.removeprefix(self._base)
        prefix, _, subscription = path.rpartition("/")
        [name] = {
            item["delete"]["operationId"]
            for template, item in self.definition["paths"].items()
            if "delete" in item and template.rpartition("/")[0] == prefix
        }
        status, _ = await self.run(name, id=subscription)
        return status

    def check_notification(self, trigger: str, content: Any) -> None:
        """Hold what a trigger was sent against what the definition says of it."""
        path, _, _ = self._find(trigger)
        self._check(_without_nulls(content), self.definition["paths"][path]["x-ms-notification-content"]["schema"])

    def _find(self, operation_id: str) -> tuple[str, str, dict[str, Any]]:
        for path, item in self.definition["paths"].items():
            for method, operation in item.items():
                if isinstance(operation, dict) and operation.get("operationId") == operation_id:
                    return path, method, operation
        raise LookupError(operation_id)

    def _body(self, schema: Mapping[str, Any], values: dict[str, Any], notify: str | None) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for name, one in schema["properties"].items():
            if one.get("x-ms-notification-url"):
                body[name] = notify
            elif name in values:
                body[name] = values.pop(name)
            elif one.get("x-ms-visibility") == "internal":
                body[name] = one["default"]
        self._check(body, schema)
        return body

    def _check(self, value: Any, schema: Mapping[str, Any]) -> None:
        whole = {**schema, "definitions": self.definition["definitions"]}
        jsonschema.Draft4Validator(whole).validate(value)


def _without_nulls(value: Any) -> Any:
    """Swagger 2.0 has no null: a member that is null is one that is not there."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
