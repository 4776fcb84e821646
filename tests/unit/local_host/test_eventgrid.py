"""The webhook of Event Grid triggers."""

import json
from typing import Any

import pytest

from local.host.eventgrid import receive

EVENT = {"specversion": "1.0", "id": "1", "source": "/a", "type": "T"}


async def call(body: Any, method: str = "POST", **headers: str) -> tuple[int, list[dict]]:
    delivered: list[dict] = []

    async def deliver(event: dict) -> None:
        delivered.append(event)
        if event.get("type") == "Bad":
            raise RuntimeError

    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    reply = await receive(method, named, body if isinstance(body, bytes) else json.dumps(body).encode(), deliver)
    return reply.status, delivered


async def test_each_event_of_a_batch_is_delivered() -> None:
    assert await call([EVENT, EVENT]) == (202, [EVENT, EVENT])
    assert await call(EVENT, aeg_event_type="Notification") == (202, [EVENT])


async def test_a_failed_event_makes_event_grid_deliver_again() -> None:
    assert (await call([EVENT, {**EVENT, "type": "Bad"}]))[0] == 500


async def test_the_validation_event_is_answered_with_its_code() -> None:
    body = json.dumps([{"data": {"validationCode": "512d38b6"}}]).encode()
    reply = await receive("POST", {b"aeg-event-type": b"SubscriptionValidation"}, body, deliver=_never)
    assert (reply.status, json.loads(reply.body)) == (200, {"validationResponse": "512d38b6"})


async def test_a_validation_event_whose_data_is_json_in_a_string_is_answered_too() -> None:
    body = json.dumps({"specversion": "1.0", "data": json.dumps({"validationCode": "512d38b6"})}).encode()
    reply = await receive("POST", {b"aeg-event-type": b"SubscriptionValidation"}, body, deliver=_never)
    assert json.loads(reply.body) == {"validationResponse": "512d38b6"}


@pytest.mark.parametrize("data", ["{", None, {}, 7])
async def test_a_validation_event_without_its_code_is_refused(data: Any) -> None:
    body = json.dumps([{"data": data}]).encode()
    reply = await receive("POST", {b"aeg-event-type": b"SubscriptionValidation"}, body, deliver=_never)
    assert reply.status == 400


async def test_the_cloud_events_handshake_allows_the_origin() -> None:
    reply = await receive("OPTIONS", {b"webhook-request-origin": b"eventgrid.azure.net"}, b"", deliver=_never)
    assert reply.status == 200
    assert dict(reply.headers)[b"webhook-allowed-origin"] == b"eventgrid.azure.net"


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"'])
async def test_what_is_no_event_is_refused(body: bytes) -> None:
    assert await call(body) == (400, [])


async def _never(event: dict) -> None:
    raise AssertionError(event)
