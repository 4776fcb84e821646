"""Our messages are plain JSON; anyone's are read plain or base64, and refused by name when they are no JSON object."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.jobs.queue import JobQueue, parse_message

MESSAGE = {"prompt": "Привет 🎨", "n": 1}
PLAIN = json.dumps(MESSAGE, ensure_ascii=False)


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        PLAIN.encode(),
        "\ufeff" + PLAIN,
        b"\xef\xbb\xbf" + PLAIN.encode(),
        f" \r\n\t{PLAIN}\n",
        base64.b64encode(PLAIN.encode()),
        base64.b64encode(b"\xef\xbb\xbf\n" + PLAIN.encode()).decode(),
        base64.encodebytes(PLAIN.encode() * 1).decode(),
    ],
)
def test_plain_and_base64_json_say_the_same(body):
    assert parse_message(body) == MESSAGE


@pytest.mark.parametrize(
    "body",
    [
        "",
        "   ",
        "[]",
        "null",
        '"text"',
        "{",
        '{"a": NaN}',
        '{"a": -Infinity}',
        "not json",
        b"\xff\xfe{\x00",
        "e30",
        "ÿ",
        "{}x",
    ],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(DarkroomError) as caught:
        parse_message(body)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("body", ['{"a":' * 100_000, base64.b64encode(b"[" * 48_000).decode()])
def test_json_too_deep_to_read_is_refused(body):
    with pytest.raises(DarkroomError) as caught:
        parse_message(body)
    assert caught.value.code == "invalid_json"


@given(st.binary() | st.text())
def test_no_message_makes_anything_but_an_object_or_a_refusal(body):
    try:
        message = parse_message(body)
    except DarkroomError as error:
        message = {"refused": error.code}
    assert isinstance(message, dict)
    assert message.get("refused") in (None, "invalid_json")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_any_object_survives_either_encoding(message):
    text = json.dumps(message)
    assert parse_message(text) == message
    assert parse_message(base64.b64encode(text.encode())) == message


def test_a_refusal_does_not_repeat_the_message():
    with pytest.raises(DarkroomError) as caught:
        parse_message("a prompt of a customer")
    assert "customer" not in str(caught.value)


@pytest.fixture
async def queue_client(azurite_environment):
    from azure.identity.aio import ManagedIdentityCredential
    from azure.storage.queue.aio import QueueServiceClient

    async with (
        ManagedIdentityCredential() as credential,
        QueueServiceClient(azurite_environment.queue, credential=credential) as service,
    ):
        yield service.get_queue_client("image-requests")


async def test_a_submitted_job_is_a_plain_message_that_does_not_expire(queue_client):
    await JobQueue(queue_client).submit("0" * 26)
    message = await queue_client.receive_message()
    assert message.content == json.dumps({"job_id": "0" * 26})
    assert parse_message(message.content) == {"job_id": "0" * 26}
    assert message.expires_on.year > 2100


async def test_a_delayed_job_is_not_visible_yet(queue_client):
    queue = JobQueue(queue_client)
    await queue.submit("0" * 26, delay=30.2)
    await queue.submit("1" * 26, delay=-5)
    assert parse_message((await queue_client.receive_message()).content) == {"job_id": "1" * 26}
    assert await queue_client.receive_message() is None
    assert (await queue_client.get_queue_properties()).approximate_message_count == 2


async def test_a_delay_beyond_what_the_service_keeps_is_cut(queue_client):
    await JobQueue(queue_client).submit("0" * 26, delay=30 * 24 * 3600.0)
    assert (await queue_client.get_queue_properties()).approximate_message_count == 1


async def test_a_queue_that_is_not_there_is_storage_unavailable(azurite_environment):
    from azure.identity.aio import ManagedIdentityCredential
    from azure.storage.queue.aio import QueueServiceClient

    async with (
        ManagedIdentityCredential() as credential,
        QueueServiceClient(azurite_environment.queue, credential=credential) as service,
    ):
        with pytest.raises(DarkroomError) as caught:
            await JobQueue(service.get_queue_client("nosuchqueue")).submit("0" * 26)
    assert caught.value.code == "storage_unavailable"
