"""A flow's trigger through the whole stack: subscribe, be told, unsubscribe, or be dropped when nobody is there."""

from __future__ import annotations

import httpx
from standardwebhooks import Webhook

from local.certificates import Certificates
from local.state import StackInfo
from tests.support.receiver import answer, receiving
from tests.support.requests import polled_to_its_end, submit
from tests.support.storage import Storage
from tests.support.waiting import eventually


async def test_a_flow_subscribes_is_told_of_a_job_and_unsubscribes_at_the_location(
    app_client: httpx.AsyncClient, stack: StackInfo, certificates: Certificates
) -> None:
    async with receiving(certificates) as receiver:
        url = f"{receiver.url}/workflows/1?sig=2"
        subscribed = await app_client.post("/api/subscriptions", json={"url": url, "statuses": ["succeeded"]})
        location = subscribed.headers["location"]
        document = await polled_to_its_end((await submit(app_client)).headers["location"])
        await eventually(lambda: receiver.requests, what="the delivery")
        ended = [(await app_client.delete(location)).status_code for _ in range(2)]
        other = await polled_to_its_end((await submit(app_client)).headers["location"])

    assert (subscribed.status_code, location) == (201, subscribed.json()["links"]["self"])
    assert location.startswith(f"{stack.app}/api/subscriptions/")
    (heard,) = receiver.requests
    message = Webhook(subscribed.json()["secret"]).verify(heard.body, heard.headers)
    assert (heard.method, heard.target) == ("POST", "/workflows/1?sig=2")
    assert (message["type"], message["data"]["id"]) == ("Darkroom.Job.Succeeded", document["id"])
    assert (ended, other["status"]) == ([204, 204], "succeeded")
    storage = Storage(stack.blob, stack.table)
    own = location.rsplit("/", 1)[1]  # other tests of the session may have left subscriptions of theirs
    await eventually(
        lambda: not [row for row in storage.rows("jobs") if own in row["RowKey"]], what="the end of its rows"
    )
    async with httpx.AsyncClient(base_url=stack.app, trust_env=False) as stranger:
        assert (await stranger.post("/api/subscriptions", json={"url": url})).status_code == 401
        assert (await stranger.delete(location)).status_code == 401


async def test_a_flow_that_is_gone_is_told_no_more(
    app_client: httpx.AsyncClient, stack: StackInfo, certificates: Certificates
) -> None:
    """Of one that only fails, tests/faults/test_deliveries.py puts the clock forward past the day of its retries."""
    async with receiving(certificates) as receiver:
        receiver.answers = [answer(410)]
        subscribed = await app_client.post("/api/subscriptions", json={"url": f"{receiver.url}/gone"})
        location = subscribed.headers["location"]
        await polled_to_its_end((await submit(app_client)).headers["location"])

        async def dropped() -> bool:
            return (await app_client.get(location)).status_code == 404

        await eventually(dropped, what="the end of the subscription")
        await polled_to_its_end((await submit(app_client)).headers["location"])
        ended = (await app_client.delete(location)).status_code

    assert len(receiver.requests) == 1
    assert ended == 204
