"""What a page of another origin may read of an answer: browsers show it only the headers that the app exposes."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from functions import images, jobs
from tests.support.app_in_process import App
from tests.support.doors import body_of, call

REQUEST = {"prompt": "a lighthouse", "quality": "low"}
PAGE = {"content-type": "application/json", "origin": "https://studio.example.com", "x-ms-invocation-id": "1"}
READABLE = {"cache-control", "content-length", "content-type"}
"""https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name, as far as the app sends them."""
NOT_FOR_PAGES = {"access-control-expose-headers", "x-accel-buffering", "x-content-type-options"}


def hidden(response: Response) -> set[str]:
    """The headers that a page would have use for and is not shown."""
    exposed = {name.strip() for name in response.headers["access-control-expose-headers"].split(",")}
    return set(response.headers) - exposed - READABLE - NOT_FOR_PAGES


async def posted(function: Any, fields: dict[str, Any], **headers: str) -> Response:
    given = {**PAGE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = await call(function, json.dumps(fields).encode(), headers=given)
    await body_of(response)
    return response


async def test_a_page_of_another_origin_sees_every_header_that_is_meant_for_clients(app: App) -> None:
    answers = [
        await posted(images.image_generations_v1, REQUEST, idempotency_key="1"),
        await posted(images.image_generations_v1, REQUEST, idempotency_key="1"),
        await posted(images.image_generations_v1, {**REQUEST, "stream": True}),
        await posted(images.image_generations_v1, {}),
        await posted(jobs.submit_job, REQUEST, prefer="wait=0"),
    ]
    app.model.fail({"name": "moderation_blocked"})
    answers.append(await posted(images.image_generations_v1, REQUEST))
    job = answers[0].headers["x-darkroom-job"]
    await app.ended(job)
    path = {"job": job, "index": "0"}
    answers.append(await call(jobs.get_image, method="GET", headers={**PAGE, "range": "bytes=0-9"}, path_params=path))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 202, 400, 206]
    assert [hidden(answer) for answer in answers] == [set()] * 7
    assert answers[5].headers["x-should-retry"] == "false"


async def test_who_is_no_page_of_another_origin_is_told_nothing_of_it(app: App) -> None:
    response = await call(images.image_generations_v1, b"{}", headers={"content-type": "application/json"})
    assert not any(name.startswith("access-control") for name in response.headers)


async def test_what_may_be_kept_is_the_same_for_pages_of_every_origin(app: App) -> None:
    job = await app.run()
    answer = await call(
        jobs.get_image, method="GET", headers={"x-ms-invocation-id": "1"}, path_params={"job": job.id, "index": "0"}
    )
    assert "etag" in answer.headers["access-control-expose-headers"]
