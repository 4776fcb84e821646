"""Who may do what, on every route the app has: a principal's jobs, images, batches and subscriptions are there for
nobody else.

The routes are the app's own, so that one nobody thought of here fails: say in the tables below whose it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from functions import web
from shared.jobs.job import Door, new_id
from shared.jobs.rows import utc_now
from shared.pipeline import accept, read
from shared.platform.principals import ADMIN_ROLE, Caller
from shared.settings import settings
from tests.support import subscribing
from tests.support.app_in_process import App
from tests.support.doors import call
from tests.support.routes import Route, routes

OPEN = {"get_health", "get_openapi", "poll_job"}
"""Anonymous: says nothing of anyone, or is opened by a token of its own."""
OF_A_JOB = {"get_job": "id", "cancel_job": "id", "get_job_events": "id", "get_image": "job", "get_provenance": "job"}
"""Routes that name a job, by the part of the path that does."""
OF_A_BATCH = {"get_batch": "id", "cancel_batch": "id"}
OF_A_SUBSCRIPTION = {"get_subscription": 404, "unsubscribe": 204}
"""By what another's gets, as one that was never there."""
NAMING = OF_A_JOB.keys() | OF_A_BATCH.keys() | OF_A_SUBSCRIPTION.keys()
OF_THE_CALLER = {
    *("image_generations", "image_edits", "image_generations_v1", "image_edits_v1"),
    *("submit_job", "submit_batch", "create_upload", "list_jobs", "estimate_cost", "get_usage", "get_health_details"),
    *("subscribe", "list_subscriptions"),
}
"""Routes that make something of the caller's own, or show what it may see."""

BODY = b'{"prompt": "a lighthouse", "quality": "low"}'
JSON = {"content-type": "application/json"}
TRICKS = [
    *("..", ".", "%2e%2e", "..%2f..", "../requests", "\\", "", " ", "*", "j:", "\x00", "a\r\nb", "x" * 5_000),
    *("0" * 25, "0" * 27, "Z" * 26, "z" * 26, "8" + "0" * 25, "٠" * 26, "0" * 25 + "٠", "ⁿ" * 26, "\ud800" * 26),
]


GUARDED = [route for route in routes() if route.name not in OPEN]


@pytest.fixture(autouse=True)
def _easy_auth(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app as it is where App Service authentication stands before it."""
    monkeypatch.setattr(web, "GUARDED_BY_KEYS", False)
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "true")
    settings.cache_clear()


def principal(name: str, *roles: str) -> dict[str, str]:
    """The headers the platform sends for who signed in."""
    claims = [{"typ": "roles", "val": role} for role in roles]
    encoded = base64.b64encode(json.dumps({"claims": claims, "role_typ": "roles"}).encode()).decode()
    return {"x-ms-client-principal-id": name, "x-ms-client-principal": encoded}


ADMIN = principal("root", ADMIN_ROLE)


async def ask(
    route: Route, headers: Mapping[str, str], params: Mapping[str, str] | None = None, **options: Any
) -> tuple[int, Any]:
    """Status and body (as JSON where it is JSON) of a route."""
    answer = await call(
        route.function, BODY, method=route.method, headers={**JSON, **headers}, path_params=params or {}, **options
    )
    body = bytes(getattr(answer, "body", b""))
    if hasattr(answer, "body_iterator"):
        body = b"".join([bytes(piece) async for piece in answer.body_iterator])
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return answer.status_code, json.loads(body) if is_json and body else body


async def job_of(app: App, owner: str) -> str:
    """A job of `owner` that succeeded."""
    caller = Caller(owner, sees_all=False)
    intake = await accept.intake()
    accepted = await accept.understand(intake, caller, json.loads(BODY), kind=None)
    job = await accept.enter(intake, accepted, caller, Door.JOBS)
    return (await app.deliver(job.id)).id


def params_of(route: Route, job_id: str) -> dict[str, str]:
    return {OF_A_JOB[route.name]: job_id, "index": "0"}


def test_every_route_is_known_here() -> None:
    assert {route.name for route in routes()} == OPEN | NAMING | OF_THE_CALLER


def test_a_route_that_names_something_is_among_those_that_check_whose_it_is() -> None:
    naming = {route.name for route in GUARDED if "{" in route.path and "{deployment}" not in route.path}

    assert naming == NAMING


async def test_nobody_gets_in_without_a_principal() -> None:
    params = {"id": new_id(utc_now()), "job": new_id(utc_now()), "index": "0", "deployment": "gpt-image-1"}
    for route in GUARDED:
        for headers in ({}, {"x-ms-client-principal-id": ""}, {"x-functions-key": "k"}, {"authorization": "Bearer x"}):
            status, body = await ask(route, headers, params)
            assert (status, body["error"]["code"]) == (401, "unauthorized"), (route, headers)


@pytest.mark.parametrize("value", ["", "false", "1"])
async def test_forged_headers_are_nobody_where_the_platform_does_not_authenticate(
    app: App, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    job_id = await job_of(app, "alice")
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", value)
    settings.cache_clear()
    for route in GUARDED:
        for headers in (principal("alice"), ADMIN):
            params = {"id": job_id, "job": job_id, "index": "0", "deployment": "gpt-image-1"}
            status, body = await ask(route, headers, params)
            assert (status, body["error"]["code"]) == (401, "unauthorized"), route


@pytest.mark.parametrize(
    "route",
    [route for route in GUARDED if route.name in OF_A_JOB],
    ids=lambda r: f"{r.method}-{r.name}",
)
async def test_anothers_job_is_not_there_and_ones_own_and_an_admins_is(app: App, route: Route) -> None:
    job_id = await job_of(app, "alice")
    there = 409 if route.name == "cancel_job" else 200
    before = await app.job(job_id)

    unknown = await ask(route, principal("bob"), params_of(route, new_id(utc_now())))
    anothers = await ask(route, principal("bob"), params_of(route, job_id))

    assert anothers == unknown, "not even that it is there is shown"
    assert anothers[0] == 404
    for lookalike in ("Alice", "alice ", " alice", "alice\t", "alic", "key", "queue", "upload"):
        assert (await ask(route, principal(lookalike), params_of(route, job_id)))[0] == 404
    for role in ("darkroom.admin", "Darkroom.Reader", "Admin"):
        assert (await ask(route, principal("bob", role), params_of(route, job_id)))[0] == 404
    assert (await ask(route, principal("alice"), params_of(route, job_id)))[0] == there
    assert (await ask(route, ADMIN, params_of(route, job_id)))[0] == there
    assert await app.job(job_id) == before


async def test_nobody_but_the_owner_and_an_admin_purges(app: App) -> None:
    cancel = next(route for route in routes() if route.name == "cancel_job")
    for owner, may in ((principal("bob"), 404), (principal("alice"), 200), (ADMIN, 200)):
        job_id = await job_of(app, "alice")
        status, _ = await ask(cancel, owner, {"id": job_id}, query={"purge": "true"})
        assert status == may
        assert bool(app.storage.results_of(job_id)) == (may == 404)


async def test_a_queued_job_is_canceled_by_nobody_else(app: App) -> None:
    caller = Caller("alice", sees_all=False)
    intake = await accept.intake()
    accepted = await accept.understand(intake, caller, json.loads(BODY), kind=None)
    job = await accept.enter(intake, accepted, caller, Door.JOBS)
    cancel = next(route for route in routes() if route.name == "cancel_job")

    refused, _ = await ask(cancel, principal("bob"), {"id": job.id})
    ended = await app.deliver(job.id)

    assert (refused, ended.status) == (404, "succeeded")


async def test_a_list_shows_a_principal_its_own_jobs_and_an_admin_everybodys(app: App) -> None:
    mine, others = await job_of(app, "alice"), await job_of(app, "bob")
    lists = next(route for route in routes() if route.name == "list_jobs")

    async def seen(headers: Mapping[str, str]) -> set[str]:
        status, body = await ask(lists, headers)
        assert status == 200
        return {job["id"] for job in body["data"]}

    assert await seen(principal("alice")) == {mine}
    assert await seen(principal("bob")) == {others}
    assert await seen(principal("carol")) == set()
    assert await seen(ADMIN) == {mine, others}


async def test_what_a_principal_makes_is_its_own_through_every_door(app: App) -> None:
    by_name = {route.name: route for route in routes()}
    for name in ("submit_job", "image_generations_v1", "image_generations"):
        status, body = await ask(by_name[name], principal(f"user of {name}"), {"deployment": "gpt-image-1"})
        assert status in (200, 202), body
        owners = {row["owner"] for row in app.storage.rows("jobs") if row["RowKey"].startswith("j:")}
        assert f"user of {name}" in owners


@pytest.fixture
async def batch(app: App) -> str:
    """A batch of alice's."""
    submit = next(route for route in routes() if route.name == "submit_batch")

    answer = await call(submit.function, b"[%s]" % BODY, headers={**JSON, **principal("alice")})
    return str(json.loads(bytes(answer.body))["id"])


@pytest.mark.parametrize("name", sorted(OF_A_BATCH))
async def test_anothers_batch_is_not_there_and_ones_own_and_an_admins_is(app: App, batch: str, name: str) -> None:
    route = next(route for route in routes() if route.name == name)

    assert (await ask(route, principal("bob"), {"id": batch}))[0] == 404
    assert (await ask(route, principal("alice"), {"id": batch}))[0] == 200
    if name == "get_batch":
        assert (await ask(route, ADMIN, {"id": batch}))[0] == 200
        lists = next(route for route in routes() if route.name == "list_jobs")
        assert (await ask(lists, principal("bob"), query={"batch": batch}))[0] == 404
        assert (await ask(lists, principal("alice"), query={"batch": batch}))[0] == 200


SUBSCRIBE = {"url": "https://127.0.0.1/hook", "statuses": ["failed"]}


@pytest.fixture
async def subscription(app: App, monkeypatch: pytest.MonkeyPatch) -> str:
    """A subscription of alice's."""
    for name, value in subscribing.SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return str((await subscribing.subscribe(headers=principal("alice"), **SUBSCRIBE))["id"])


@pytest.mark.parametrize("name", sorted(OF_A_SUBSCRIPTION))
async def test_anothers_subscription_is_not_there_and_stays(subscription: str, name: str) -> None:
    route = next(route for route in routes() if route.name == name)
    for headers in (principal("bob"), principal("Alice"), principal("key"), principal("bob", "Darkroom.Reader")):
        unknown = await ask(route, headers, {"id": new_id(utc_now())})
        assert unknown[0] == OF_A_SUBSCRIPTION[name]
        assert await ask(route, headers, {"id": subscription}) == unknown
        assert await subscribing.listed(headers) == []

    for headers in (principal("alice"), ADMIN):
        assert [one["id"] for one in await subscribing.listed(headers)] == [subscription]
        assert (await subscribing.read(subscription, headers)).status_code == 200


@pytest.mark.parametrize("headers", [principal("alice"), ADMIN])
async def test_the_owner_and_an_admin_end_a_subscription(subscription: str, headers: Mapping[str, str]) -> None:
    assert (await subscribing.end(subscription, headers)).status_code == 204
    assert await subscribing.listed(ADMIN) == []


async def test_a_receiver_that_another_subscribes_too_is_not_taken_from_its_owner(subscription: str) -> None:
    await subscribing.subscribe(headers=principal("bob"), **SUBSCRIBE)
    await subscribing.subscribe(headers=ADMIN, **SUBSCRIBE)

    shown = [(one["owner"], one["jobs"]) for one in await subscribing.listed(ADMIN)]
    assert shown == [("root", "all"), ("bob", "own"), ("alice", "own")]


async def test_one_principal_has_at_most_so_many_subscriptions(
    subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.pipeline.subscriptions.MOST_OF_A_CALLER", 2)

    async def status(headers: Mapping[str, str], number: int) -> int:
        return (await subscribing.ask({"url": f"https://127.0.0.1/{number}"}, headers)).status_code

    assert [await status(principal("alice"), number) for number in range(3)] == [201, 409, 409]
    assert [await status(principal("bob"), number) for number in range(3)] == [201, 201, 409]
    assert [await status(ADMIN, number) for number in range(3)] == [201, 201, 201]


async def test_a_blob_of_anothers_job_is_no_source(app: App) -> None:
    job = await app.document(await job_of(app, "alice"))
    submit = next(route for route in routes() if route.name == "submit_job")
    blob = job["images"][0]["blob"]
    body = json.dumps({"prompt": "p", "quality": "low", "images": [{"blob": blob}]}).encode()

    async def status(headers: Mapping[str, str]) -> int:
        return (await call(submit.function, body, headers={**JSON, **headers})).status_code

    assert await status(principal("bob")) == 400
    assert await status(principal("alice")) == 202
    assert await status(ADMIN) == 202


@pytest.mark.parametrize(
    "route",
    [r for r in routes() if r.name in NAMING or r.name == "poll_job"],
    ids=lambda r: f"{r.method}-{r.name}",
)
async def test_an_id_that_is_none_finds_nothing_and_breaks_nothing(app: App, route: Route) -> None:
    own = await job_of(app, "alice")
    for trick in (*TRICKS, own.upper(), own + "/", f"{own}/..", f" {own}", f"{own}\n", f"j:{own}"):
        params = {"id": trick, "job": trick, "index": "0"}
        status, body = await ask(route, ADMIN, params, query={"token": "x"} if route.name == "poll_job" else {})
        assert status == 404, (trick[:40], status)
        assert body == b"" or body["error"]["code"] == "not_found"


async def test_an_index_that_is_none_finds_no_image(app: App) -> None:
    job_id = await job_of(app, "alice")
    for route in (route for route in routes() if route.name in ("get_image", "get_provenance")):
        for index in ("-1", "1", "000", "0.json", "..", "%2e", "٠", "", "9" * 400, "0\x00"):
            status, _ = await ask(route, principal("alice"), {"job": job_id, "index": index})
            assert status == 404, (route, index[:10])


async def test_a_poll_token_opens_its_job_for_anybody_and_nothing_else_of_it(app: App) -> None:
    by_name = {route.name: route for route in routes()}
    _, document = await ask(by_name["submit_job"], principal("alice"))
    job_id, token = document["id"], document["links"]["poll"].partition("token=")[2]

    assert (await ask(by_name["poll_job"], {}, {"id": job_id}, query={"token": token}))[0] == 202
    for name in ("get_job", "cancel_job"):
        assert (await ask(by_name[name], {}, {"id": job_id}, query={"token": token}))[0] in (400, 401)
    assert (await ask(by_name["get_image"], {}, {"job": job_id, "index": "0"}, query={"token": token}))[0] in (400, 401)
    other = await job_of(app, "bob")
    assert (await ask(by_name["poll_job"], ADMIN, {"id": other}, query={"token": token}))[0] == 403
    assert (await read.find(job_id, Caller("alice", sees_all=False))).owner == "alice"
