"""A job that names its image and its receiver by URL, through the whole stack."""

from __future__ import annotations

import httpx
from standardwebhooks import Webhook

from local.certificates import Certificates
from local.state import StackInfo
from shared.delivery import callbacks
from tests.support.photographs import photograph
from tests.support.receiver import STACK_SIGNING_KEY, answer, receiving
from tests.support.requests import polled_to_its_end, submit
from tests.support.storage import Storage
from tests.support.waiting import eventually


async def test_an_edit_of_an_image_at_a_url_is_posted_to_its_receiver(
    app_client: httpx.AsyncClient, stack: StackInfo, certificates: Certificates
) -> None:
    async with receiving(certificates) as receiver:
        receiver.answers = [answer(200, photograph())]
        submitted = await submit(
            app_client, images=[{"url": f"{receiver.url}/photo?sig=1"}], callback_url=f"{receiver.url}/done?sig=2"
        )
        document = await polled_to_its_end(submitted.headers["location"])
        await eventually(lambda: len(receiver.requests) == 2, what="the callback")

    fetched, called = receiver.requests
    assert (document["status"], document["kind"]) == ("succeeded", "edit")
    assert (fetched.method, fetched.target) == ("GET", "/photo?sig=1")
    assert Storage(stack.blob, stack.table).read(document["request"]["images"][0]["blob"]) == photograph()
    key = callbacks.host_key(STACK_SIGNING_KEY, "127.0.0.1")
    message = Webhook(key).verify(called.body, called.headers)
    assert (called.method, called.target) == ("POST", "/done?sig=2")
    assert (message["type"], message["data"]["id"]) == ("Darkroom.Job.Succeeded", document["id"])
