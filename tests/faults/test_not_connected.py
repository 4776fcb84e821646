"""Verdict "not connected": DNS, a refused connection, TLS. Asked again with back-off, another deployment first; no call
is counted, because none was made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from local.ports import HeldPorts
from shared.errors import DarkroomError
from shared.pipeline import run
from tests.support.app_in_process import App, deployment
from tests.support.waiting import eventually

Configure = Callable[..., None]
PORTS = HeldPorts()


@pytest.fixture(autouse=True)
def _held() -> Iterator[None]:
    with PORTS:
        yield


def closed_port() -> str:
    """An address of this machine on which nobody listens, nor begins to while the test runs."""
    return f"https://127.0.0.1:{PORTS.hold()}"


@asynccontextmanager
async def plain_server() -> AsyncIterator[str]:
    """A server that answers a TLS hello with words."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def forwarder(address: str, target: str) -> AsyncIterator[None]:
    """Listen at `address` and pass everything on to `target`."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", urlsplit(target).port)
        await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", urlsplit(address).port or 0):
        yield


@asynccontextmanager
async def unreachable(how: str) -> AsyncIterator[str]:
    if how == "tls":
        async with plain_server() as address:
            yield address
    else:
        yield closed_port() if how == "refused" else "https://no-such-host.invalid"


@pytest.mark.parametrize("how", ["refused", "dns", "tls"])
async def test_another_deployment_takes_the_job_of_one_that_cannot_be_reached(
    app: App, configure: Configure, how: str
) -> None:
    async with unreachable(how) as address:
        configure([deployment(address, "first"), deployment(app.model.url, "second", priority=1)])
        job = await app.run()
    assert (job.status, job.deployment, job.attempts) == ("succeeded", "second", 1)
    assert len(app.model.calls()) == 1
    assert app.storage.outcomes(job.id) == ["void", "billed"]


async def test_the_only_deployment_is_asked_again_until_it_can_be_reached(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_CONNECT", (0.05,) * 200)
    address = closed_port()
    configure([deployment(address)])
    job_id = await app.submit()
    delivery = asyncio.create_task(app.deliver(job_id))
    await eventually(lambda: len(app.storage.ledger(job_id)) >= 3, what="three failed connections")
    async with forwarder(address, app.model.url):
        job = await delivery
    assert (job.status, job.attempts) == ("succeeded", 1)
    assert len(app.model.calls()) == 1
    *before, last = app.storage.outcomes(job_id)
    assert set(before) == {"void"}
    assert last == "billed"


async def test_a_deployment_of_another_model_is_no_reason_to_skip_the_back_off(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def note(self: object, moment: datetime) -> None:
        pauses.append((moment - datetime.now(UTC)).total_seconds())
        if len(pauses) == 3:
            raise DarkroomError("canceled", "That is enough.")

    monkeypatch.setattr(run._Run, "_sleep_until", note)
    configure([deployment(closed_port()), deployment(app.model.url, "mini", model="gpt-image-1-mini")])
    job_id = await app.submit()
    with pytest.raises(DarkroomError, match="enough"):
        await app.deliver(job_id)
    assert [round(pause) for pause in pauses] == [1, 2, 5]
    assert app.model.calls() == []


async def test_a_job_does_not_fail_because_the_only_reachable_deployment_is_out(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_CONNECT", (0.05,) * 200)
    address = closed_port()
    configure([deployment(address), deployment(app.model.url, "second", priority=1)])
    app.model.fail({"name": "permission_denied", "match": {"deployment": "second"}})
    job_id = await app.submit()
    delivery = asyncio.create_task(app.deliver(job_id))
    await eventually(lambda: app.storage.outcomes(job_id).count("void") >= 2, what="two failed connections")
    async with forwarder(address, app.model.url):
        job = await delivery
    assert (job.status, job.deployment) == ("succeeded", "gpt-image-1")
    assert app.storage.outcomes(job_id).count("refused") == 1


async def test_a_queued_job_that_meets_nobody_gives_its_worker_back(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_CONNECT", (0.05,))
    configure([deployment(closed_port())])
    job = await app.run()
    assert (job.status, job.lease_owner, job.attempts) == ("queued", None, 0)
    assert job.wake_at is not None
    assert job.wake_at - datetime.now(UTC) > timedelta(seconds=20)
    assert app.storage.outcomes(job.id) == ["void", "void"]


async def test_a_synchronous_caller_is_told_that_the_model_was_not_reached(
    app: App, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_CONNECT", (0.05,))
    configure([deployment(closed_port())])
    job = await app.run_now()
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["status"]) == ("not_connected", 502)
    assert app.storage.outcomes(job.id) == ["void", "void"]


async def test_an_identity_endpoint_that_is_away_costs_no_call_and_no_attempt(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.platform import clients

    monkeypatch.setattr(run, "RETRY_CONNECT", (0.05,))
    job_id = await app.submit()
    tokens = clients.app_bearer("https://cognitiveservices.azure.com/.default")

    async def away(*_: str) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        raise ClientAuthenticationError("the endpoint is away")

    class Away:
        get_token = staticmethod(away)

    monkeypatch.setattr(tokens, "credential", Away())
    job = await app.deliver(job_id)
    assert (job.status, job.attempts) == ("queued", 0)
    assert app.model.calls() == []
