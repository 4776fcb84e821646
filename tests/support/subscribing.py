"""Subscriptions as a caller of the app in this process makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from functions import subscriptions
from tests.support.doors import call

SETTINGS = {"CALLBACK_HOSTS": "127.0.0.1", "ALLOW_PRIVATE_NETWORKS": "1"}
JSON = {"content-type": "application/json"}


def body(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


async def ask(data: Any, headers: Mapping[str, str] | None = None) -> Response:
    return await call(subscriptions.subscribe, json.dumps(data).encode(), headers={**JSON, **(headers or {})})


async def subscribe(url: str, headers: Mapping[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """The document of a new subscription, with its secret."""
    response = await ask({"url": url, **fields}, headers)
    assert response.status_code == 201, response.body
    return body(response)


async def end(subscription_id: str, headers: Mapping[str, str] | None = None) -> Response:
    path = {"id": subscription_id}
    return await call(subscriptions.unsubscribe, method="DELETE", path_params=path, headers=headers)


async def read(subscription_id: str, headers: Mapping[str, str] | None = None) -> Response:
    path = {"id": subscription_id}
    return await call(subscriptions.get_subscription, method="GET", path_params=path, headers=headers)


async def listed(headers: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    response = await call(subscriptions.list_subscriptions, method="GET", headers=headers)
    assert response.status_code == 200
    found: list[dict[str, Any]] = body(response)["data"]
    return found
