"""Queue, timer and Event Grid functions in a real worker, with Azurite where messages are kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.queue.aio import QueueClient

QUEUE = "work"
CODE = {"x-functions-key": "test-key"}


@pytest.fixture
async def queue(azurite_environment) -> AsyncIterator[QueueClient]:
    async with (
        ManagedIdentityCredential() as credential,
        QueueClient(azurite_environment.queue, QUEUE, credential=credential) as client,
    ):
        await client.create_queue()
        yield client


@pytest.fixture
def host(start_host, azurite_environment, queue: QueueClient):
    running = start_host("background", WORK_QUEUE=QUEUE, **azurite_environment.environment)
    assert running.url
    return running


async def send(queue: QueueClient, **body: object) -> None:
    await queue.send_message(json.dumps(body))


async def test_a_message_runs_its_function_and_is_deleted(queue: QueueClient, host) -> None:
    await send(queue, name="one")
    host.hears(r"work one done id=[0-9a-f-]{36} inserted=20\d\d-")
    host.hears(r"Executed 'work' \(Succeeded")
    assert host.terminate() == 0
    assert (await queue.get_queue_properties()).approximate_message_count == 0


async def test_a_message_that_fails_is_tried_again_and_ends_in_the_poison_queue(queue: QueueClient, host) -> None:
    await send(queue, name="bad", fail=True)
    host.hears("work bad taken 1")
    host.hears("work bad taken 2")
    host.hears(r"Message has reached MaxDequeueCount of 2\. Moving message to queue 'work-poison'")
    host.hears("poisoned bad")


async def test_a_message_whose_worker_was_killed_comes_back(queue: QueueClient, host) -> None:
    await send(queue, name="risky", die=1)
    host.hears("work risky taken 1")
    host.hears(r"worker 1 \(process \d+\) ended with code -9")
    host.hears("work risky taken 2")
    host.hears("work risky done")


async def test_a_message_that_runs_when_the_host_stops_comes_back(
    queue: QueueClient, start_host, azurite_environment
) -> None:
    settings = {"WORK_QUEUE": QUEUE, "LOCAL_HOST_GRACE_SECONDS": "0", **azurite_environment.environment}
    first = start_host("background", **settings)
    await send(queue, name="long", hang=1)
    first.hears("work long taken 1")
    assert first.terminate() == 0
    second = start_host("background", **settings)
    second.hears("work long taken 2")
    second.hears("work long done")


async def test_every_worker_has_a_listener_of_its_own(queue: QueueClient, start_host, azurite_environment) -> None:
    settings = {"AzureFunctionsJobHost__extensions__queues__batchSize": "1"}
    host = start_host("background", workers=2, WORK_QUEUE=QUEUE, **settings, **azurite_environment.environment)
    await send(queue, name="first", hang=1)
    await send(queue, name="second", hang=1)
    host.hears(r"^\[worker 1\] .*taken 1")
    host.hears(r"^\[worker 2\] .*taken 1")


def test_a_timer_on_startup_fires_once_for_all_workers(start_host, azurite_environment) -> None:
    host = start_host("background", workers=2, WORK_QUEUE=QUEUE, **azurite_environment.environment)
    host.hears(r"yearly past_due=False next=20\d\d-01-01T00:00:00")
    host.hears(r"Executed 'yearly' \(Succeeded")
    host.close()
    assert sum("yearly past_due" in line for line in host.lines) == 1


def test_functions_can_be_started_by_hand(host) -> None:
    def start(name: str, given: str, **options) -> int:
        return httpx.post(
            f"{host.url}/admin/functions/{name}", json={"input": given}, trust_env=False, **options
        ).status_code

    assert start("work", "{}") == 401
    assert start("nothing", "{}", headers=CODE) == 404
    assert start("Work", '{"name": "by hand"}', headers=CODE) == 202
    host.hears(r"work by hand done id=[0-9a-f-]{36}")
    host.hears(r"yearly past_due=False")
    assert start("yearly", "", headers=CODE) == 202
    host.hears(r"yearly past_due=False", times=2)


def test_event_grid_delivers_through_the_webhook(host) -> None:
    def deliver(function: str, *events: dict, **options) -> httpx.Response:
        url = f"{host.url}/runtime/webhooks/EventGrid?functionName={function}&code=test-key"
        return httpx.post(url, json=list(events), trust_env=False, **options)

    event = {"specversion": "1.0", "id": "e1", "source": "/s", "type": "Good", "data": {"n": 1}}
    assert deliver("arrived", event).status_code == 202
    host.hears(r'arrived \["e1", "Good", \{"n": 1\}\]')
    assert deliver("arrived", {**event, "type": "Bad"}).status_code == 500
    assert deliver("absent", event).status_code == 404
    assert deliver("arrived", {**event, "data": "x" * 3_000_000}).status_code == 413
    without_key = httpx.post(
        f"{host.url}/runtime/webhooks/EventGrid?functionName=arrived", json=[event], trust_env=False
    )
    assert without_key.status_code == 401


def test_a_connection_that_is_not_set_up_is_named(start_host) -> None:
    host = start_host("background", WORK_QUEUE=QUEUE, STORAGE__queueServiceUri="")
    assert host.process.wait(20) == 1
    host.hears("'STORAGE__queueServiceUri' is not set")


def test_a_listener_waits_for_storage_that_is_away(start_host, azurite_environment) -> None:
    environment = {**azurite_environment.environment, "STORAGE__queueServiceUri": "https://127.0.0.1:9/test"}
    host = start_host("background", WORK_QUEUE=QUEUE, **environment)
    host.hears("Queue 'work' does not answer and is tried again")
    assert host.terminate() == 0
