"""Links to results: they read one blob until they end, and do nothing else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob.aio import BlobServiceClient

from local.state import StackInfo
from shared.delivery.links import ResultLinks
from tests.support.peers import fetch
from tests.support.requests import generated, job, waited_for
from tests.support.storage import StaticCredential


@pytest.fixture(scope="module")
def link(session_stack: StackInfo) -> str:
    """The link to a result that has an image after it. Nobody writes through it, so one is enough."""
    return str(waited_for(session_stack, n=2)["images"][0]["url"])


async def test_a_link_reads_the_blob_without_any_other_credential(
    app_client: httpx.AsyncClient, stack: StackInfo
) -> None:
    document = await generated(app_client)

    (image,) = document["images"]
    answer = fetch(stack, "GET", image["url"])

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]


async def test_a_link_is_a_read_only_user_delegation_signature_for_one_hour(link: str) -> None:
    query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}

    assert (query["sp"], query["sr"]) == ("r", "b")
    assert query["skoid"]  # signed for an identity, not with the account's key
    left = datetime.fromisoformat(query["se"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(minutes=60)


async def test_each_answer_has_links_of_its_own(app_client: httpx.AsyncClient, stack: StackInfo, link: str) -> None:
    job_id = urlsplit(link).path.split("/")[-2]

    again = (await job(app_client, job_id))["images"][0]["url"]

    assert urlsplit(again).path == urlsplit(link).path
    assert fetch(stack, "GET", again).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_link_neither_writes_nor_deletes(stack: StackInfo, link: str, method: str) -> None:
    answer = fetch(stack, method, link, headers={"x-ms-blob-type": "BlockBlob"}, content=b"x")

    assert answer.status_code == 403
    assert fetch(stack, "GET", link).status_code == 200


async def test_a_link_opens_no_other_blob_and_no_list(stack: StackInfo, link: str) -> None:
    path, _, query = link.partition("?")
    container = path[: path.index("/results/")] + "/results"

    for other in (path.replace("/0.png", "/1.png"), path.replace("/0.png", "/0.json")):
        assert fetch(stack, "GET", f"{other}?{query}").status_code == 403
    assert fetch(stack, "GET", f"{container}?restype=container&comp=list&{query}").status_code == 403


async def test_a_link_whose_end_was_moved_is_refused(stack: StackInfo, link: str) -> None:
    ends = parse_qs(urlsplit(link).query)["se"][0]
    later = (datetime.fromisoformat(ends) + timedelta(days=1)).strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ")

    assert fetch(stack, "GET", link.replace(f"se={ends.replace(':', '%3A')}", f"se={later}")).status_code == 403
    assert fetch(stack, "GET", link.partition("?")[0]).status_code in (401, 403, 404)


async def test_a_link_that_has_ended_opens_nothing(stack: StackInfo, link: str) -> None:
    blob = urlsplit(link).path.partition("/results/")[2]
    async with BlobServiceClient(stack.blob, credential=_AsyncCredential()) as blobs:
        ended = await ResultLinks(blobs, minutes=-1).sign(f"results/{blob}")
        fresh = await ResultLinks(blobs, minutes=1).sign(f"results/{blob}")

    assert fetch(stack, "GET", ended).status_code == 403
    assert fetch(stack, "GET", fresh).status_code == 200


async def test_a_link_may_last_as_long_as_the_longest_setting(stack: StackInfo, link: str) -> None:
    blob = urlsplit(link).path.partition("/results/")[2]
    async with BlobServiceClient(stack.blob, credential=_AsyncCredential()) as blobs:
        longest = await ResultLinks(blobs, minutes=10_080).sign(f"results/{blob}")

    assert fetch(stack, "GET", longest).status_code == 200


class _AsyncCredential:
    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return StaticCredential().get_token(*scopes, **options)

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
