"""The subscription door: what it takes, what it shows, and where nobody can make the app go."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from functions import subscriptions as door
from local.certificates import Certificates
from shared.jobs import subscriptions as store
from shared.jobs.job import new_id
from shared.platform import outbound
from tests.support.app_in_process import App, deployment
from tests.support.doors import call
from tests.support.receiver import Receiver, receiving
from tests.support.subscribing import JSON, SETTINGS, ask, body, end, listed, read, subscribe
from tests.support.table_recorder import recording

Configure = Callable[..., None]
URL = "https://127.0.0.1/workflows/1?sig=s3cret"


@pytest.fixture
def subscribable(app: App, configure: Configure) -> App:
    configure([deployment(app.model.url)], **SETTINGS)
    return app


@pytest.fixture
async def receiver(certificates: Certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


def rows(app: App) -> list[dict[str, Any]]:
    return [row for row in app.storage.rows("jobs") if row["PartitionKey"] == "subscriptions"]


async def test_a_subscription_is_made_read_listed_and_ended(subscribable: App) -> None:
    answer = await ask({"url": URL, "statuses": ["failed", "succeeded"], "metadata": {"flow": "órdenes"}})
    made = body(answer)
    secret = made.pop("secret")

    assert answer.status_code == 201
    assert answer.headers["location"] == made["links"]["self"]
    assert made["links"]["self"] == f"http://127.0.0.1:7071/api/subscriptions/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert (made["url"], made["statuses"]) == ("https://127.0.0.1/workflows/1?…", ["succeeded", "failed"])
    assert (made["owner"], made["jobs"], made["metadata"]) == ("key", "all", {"flow": "órdenes"})
    assert made["failing_since"] is None
    assert body(await read(made["id"])) == made
    assert await listed() == [made]

    ended = await end(made["id"])
    assert (ended.status_code, bytes(ended.body)) == (204, b"")
    assert (await end(made["id"])).status_code == 204, "an answer that was lost is asked for again"
    assert (await end(new_id(datetime.now(UTC)))).status_code == 204
    assert (await read(made["id"])).status_code == 404
    assert await listed() == []
    assert rows(subscribable) == []
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


async def test_secret_and_query_are_shown_once_and_never_again(
    subscribable: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first, second = await subscribe(URL), await subscribe(f"{URL}2")
    assert first["secret"] != second["secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", first["secret"])
    shown = [bytes((await read(one["id"])).body).decode() for one in (first, second)]
    shown.append(str(await listed()))

    assert not any(word in text for text in (*shown, caplog.text) for word in ("whsec_", "s3cret"))


async def test_who_subscribes_a_url_again_is_told_once(subscribable: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "darkroom")
    first = await subscribe(URL, statuses=["failed"])
    other = await subscribe(f"{URL}-other")
    again = await subscribe(URL)

    assert again["id"] != first["id"]
    assert [one["id"] for one in await listed()] == [again["id"], other["id"]]
    assert (await end(first["id"])).status_code == 204, "ending the former leaves the one in its place"
    assert [one["id"] for one in await listed()] == [again["id"], other["id"]]
    assert f"{again['id']} takes the place of {first['id']}" in caplog.text


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        ([], "invalid_type", None),
        ("https://127.0.0.1/", "invalid_type", None),
        ({}, "missing_required_parameter", "url"),
        ({"url": None}, "missing_required_parameter", "url"),
        ({"url": 1}, "invalid_type", "url"),
        ({"url": ["https://127.0.0.1/"]}, "invalid_type", "url"),
        ({"url": ""}, "invalid_value", "url"),
        ({"url": f"{URL}{'x' * 8_192}"}, "invalid_value", "url"),
        ({"url": f"{URL}#fragment"}, "invalid_value", "url"),
        ({"url": "https://127.0.0.1/\ud800"}, "invalid_value", "url"),
        ({"url": "https://127.0.0.1/a\r\nhost: evil.net"}, "invalid_value", "url"),
        ({"url": URL, "secret": "whsec_"}, "unknown_parameter", "secret"),
        ({"url": URL, "owner": "alice"}, "unknown_parameter", "owner"),
        ({"url": URL, "statuses": "failed"}, "invalid_type", "statuses"),
        ({"url": URL, "statuses": []}, "invalid_value", "statuses"),
        ({"url": URL, "statuses": ["failed", "running"]}, "invalid_value", "statuses[1]"),
        ({"url": URL, "statuses": [None]}, "invalid_type", "statuses[0]"),
        ({"url": URL, "metadata": []}, "invalid_type", "metadata"),
        ({"url": URL, "metadata": False}, "invalid_type", "metadata"),
        ({"url": URL, "metadata": {"a": 1}}, "invalid_type", "metadata.a"),
    ],
)
async def test_what_is_wrong_is_refused_by_its_name(subscribable: App, data: Any, code: str, param: str | None) -> None:
    answer = await ask(data)
    error = body(answer)["error"]

    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert "s3cret" not in error["message"]
    assert rows(subscribable) == []


async def test_unknown_query_parameters_are_refused_on_each_route(subscribable: App) -> None:
    for function, method in (
        (door.subscribe, "POST"),
        (door.list_subscriptions, "GET"),
        (door.get_subscription, "GET"),
        (door.unsubscribe, "DELETE"),
    ):
        path = {"id": new_id(datetime.now(UTC))}
        answer = await call(function, b"{}", method=method, headers=JSON, path_params=path, query={"limit": "1"})
        assert (answer.status_code, body(answer)["error"]["param"]) == (400, "limit")


REFUSED: list[tuple[Mapping[str, str], str, str]] = [
    ({"CALLBACK_HOSTS": ""}, "https://127.0.0.1/", "CALLBACK_HOSTS"),
    ({}, "https://prod-01.westeurope.logic.azure.com/", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "logic.azure.com"}, "https://logic.azure.com.evil.net/", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "logic.azure.com"}, "https://evil-logic.azure.com.net/", "CALLBACK_HOSTS"),
    ({"CALLBACK_HOSTS": "logic.azure.com"}, "https://evillogic.azure.com/", "CALLBACK_HOSTS"),
    ({"ALLOW_PRIVATE_NETWORKS": ""}, "https://127.0.0.1/", "not public"),
    ({"ALLOW_PRIVATE_NETWORKS": ""}, "https://127.0.0.1:8443/", "port"),
    ({"CALLBACK_HOSTS": "169.254.169.254"}, "https://169.254.169.254/metadata", "not public"),
    ({"CALLBACK_HOSTS": "168.63.129.16"}, "https://168.63.129.16/", "not public"),
    ({}, "https://[::ffff:127.0.0.1]/", "CALLBACK_HOSTS"),
    ({}, "https://2130706433/", "https URL"),
    ({}, "http://127.0.0.1/", "https URL"),
    ({}, "https://user@127.0.0.1/", "user name"),
    ({}, "https://127.0.0.1\\@evil.net/", "https URL"),
]


async def test_a_receiver_that_would_not_be_called_is_refused(
    app: App, configure: Configure, receiver: Receiver
) -> None:
    for changes, url, said in REFUSED:
        configure([deployment(app.model.url)], **{**SETTINGS, **changes})
        answer = await ask({"url": f"{url}?sig=s3cret"})
        error = body(answer)["error"]

        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", "url"), url
        assert said in error["message"], (url, error["message"])
        assert "s3cret" not in error["message"], url
    assert rows(app) == []
    assert receiver.connections == 0


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["fd00::1"], ["169.254.169.254"]])
async def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_subscribed(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    async def look_up(host: str, port: int) -> list[str]:
        return addresses

    monkeypatch.setattr(outbound, "look_up", look_up)
    configure([deployment(app.model.url)], CALLBACK_HOSTS="example.com")

    assert "not public" in body(await ask({"url": "https://hooks.example.com/"}))["error"]["message"]
    assert rows(app) == []
    addresses[:] = ["93.184.215.14"]
    assert (await ask({"url": "https://hooks.example.com/"})).status_code == 201, "nobody is connected to"


@pytest.mark.parametrize(
    "url",
    [
        (
            "https://prod-01.westeurope.logic.azure.com:443/workflows/0f/triggers/When_an_image_job_ends/paths/invoke"
            "?api-version=2016-10-01&sp=%2Ftriggers%2FWhen_an_image_job_ends%2Frun&sv=1.0&sig=a-b_c%2B"
        ),
        (
            "https://default0f.36.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/0f"
            "/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-b_c"
        ),
    ],
)
async def test_the_urls_of_flows_are_taken_as_they_are(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    async def look_up(host: str, port: int) -> list[str]:
        return ["93.184.215.14"]

    monkeypatch.setattr(outbound, "look_up", look_up)
    configure([deployment(app.model.url)], CALLBACK_HOSTS="logic.azure.com, environment.api.powerplatform.com")

    assert (await subscribe(url))["url"] == url.partition("?")[0] + "?…"
    (row,) = rows(app)
    assert row["url"] == url


async def test_a_name_that_nobody_knows_is_refused_when_it_is_subscribed(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    monkeypatch.setattr(outbound, "look_up", look_up)
    configure([deployment(app.model.url)], CALLBACK_HOSTS="example.com")

    assert "not known" in body(await ask({"url": "https://gone.example.com/"}))["error"]["message"]


async def test_there_are_at_most_so_many_in_all(subscribable: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.pipeline.subscriptions.MOST", 3)
    made = [await subscribe(f"{URL}{number}") for number in range(3)]

    full = await ask({"url": f"{URL}3"})
    assert (full.status_code, body(full)["error"]["code"]) == (409, "too_many_subscriptions")
    assert [one["id"] for one in await listed()] == [one["id"] for one in reversed(made)]
    assert (await ask({"url": f"{URL}2"})).status_code == 201, "one in the place of another is not one more"
    await end(made[0]["id"])
    assert (await ask({"url": f"{URL}3"})).status_code == 201


async def test_what_a_subscriber_and_an_end_ask_of_the_table_does_not_grow(subscribable: App) -> None:
    async with recording() as recorder:
        with recorder.during() as part:
            made = await subscribe(URL)
        part.check(pages=1)
        assert len(part.requests) == 2
        with recorder.during() as part:
            await read(made["id"])
            await end(made["id"])
        assert part.queries == []
        with recorder.during() as part:
            await listed()
        part.check(pages=1)
        assert len(part.requests) == 1
    assert store.MOST <= 1_000, "one page of the service"
