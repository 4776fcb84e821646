"""The transport against real sockets: what it says of a request that failed, and what it sends."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest

from shared.platform import transport
from shared.platform.transport import READ_BYTES, SentBody, http_client

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    finally:
        server.close()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """A whole request with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return head + await reader.readexactly(int(length.partition(b":")[2]))


async def post(url: str, body: SentBody, **options: float) -> httpx.Response:
    timeout = httpx.Timeout(5.0, **options)
    async with http_client(keep_alive=None, timeout=timeout) as client:
        request = client.build_request("POST", url, content=body, headers=body.headers)
        response = await client.send(request, stream=True)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response


async def failure(url: str, **options: float) -> tuple[httpx.TransportError, SentBody]:
    body = SentBody(b"prompt")
    with pytest.raises(httpx.TransportError) as caught:
        await post(url, body, **options)
    return caught.value, body


async def refuse_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_a_refused_connection_is_certainly_not_sent():
    assert not (await failure(f"http://127.0.0.1:{await refuse_port()}/"))[1].sent


async def test_a_name_that_does_not_resolve_is_certainly_not_sent():
    assert not (await failure("http://no-such-host.invalid/"))[1].sent


async def test_a_server_that_speaks_no_tls_is_certainly_not_sent():
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with listening(hang_up) as url:
        assert not (await failure(url.replace("http://", "https://")))[1].sent


async def test_a_certificate_that_is_not_trusted_is_certainly_not_sent(certificates):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates.cert, certificates.key)
    distrustful = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    body = SentBody(b"prompt")

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a connection that was not trusted was used")

    async with listening(never, tls) as url, http_client(verify=distrustful) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(url, content=body, headers=body.headers)
    assert not body.sent


async def test_a_connection_that_is_never_made_in_time_is_certainly_not_sent():
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()

    async with listening(silent) as url:
        error, body = await failure(url.replace("http://", "https://"), connect=0.2)
        assert accepted.is_set()
        assert isinstance(error, httpx.TimeoutException)
        assert not body.sent


async def test_a_connection_closed_before_the_request_was_read_may_have_been_sent():
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with listening(close) as url:
        assert (await failure(url))[1].sent


async def test_a_connection_closed_after_the_request_was_sent_though_it_is_called_a_failure_to_connect():
    async def read_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)

    async with listening(read_and_close) as url:
        error, body = await failure(url)
        assert isinstance(error, httpx.ConnectTimeout)  # the trap that SentBody is for
        assert body.sent


async def test_an_answer_that_is_cut_was_sent():
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()

    async with listening(cut) as url:
        error, body = await failure(url)
        assert isinstance(error, httpx.ReadError)
        assert body.sent


async def test_an_answer_that_is_no_http_was_sent():
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HELLO THERE\r\n\r\n")
        await writer.drain()

    async with listening(babble) as url:
        assert (await failure(url))[1].sent


async def test_an_answer_that_does_not_come_in_time_was_sent():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async with listening(silent) as url:
        error, body = await failure(url, read=0.2)
        assert isinstance(error, httpx.TimeoutException)
        assert body.sent


async def test_a_body_is_for_one_try():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(ANSWER)

    async with listening(answer) as url:
        body = SentBody(b"prompt")
        assert (await post(url, body)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await post(url, body)


async def test_a_body_of_pieces_counts_as_sent_with_the_first_piece_only():
    async def broken() -> AsyncIterator[bytes]:
        raise OSError("the source could not be read")
        yield b""

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(read) as url:
        body = SentBody(broken(), length=100)
        with pytest.raises(httpx.TransportError):
            await post(url, body)
        assert not body.sent


async def test_what_is_sent_is_plain_and_whole():
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_of(reader))
        writer.write(b"HTTP/1.1 307 \r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"pro"
        yield b"mpt"

    async with listening(answer) as url:
        for _ in range(2):
            assert (await post(url, SentBody(pieces(), length=6))).status_code == 307
    for head in heads:
        lines = head.lower().split(b"\r\n")
        assert b"accept-encoding: identity" in lines
        assert b"connection: close" in lines
        assert b"content-length: 6" in lines
        assert head.endswith(b"\r\n\r\nprompt")
        assert b"cookie" not in head.lower()
        assert b"transfer-encoding" not in head.lower()


async def test_an_answers_cookies_do_not_travel_with_the_requests_that_follow():
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_of(reader))
        writer.write(b"HTTP/1.1 200 \r\nset-cookie: a=b; path=/\r\ncontent-length: 0\r\n\r\n")

    async with listening(answer) as url, http_client(keep_alive=None) as client:
        for _ in range(2):
            response = await client.post(url, content=b"prompt")
            assert response.headers["set-cookie"] == "a=b; path=/"
    assert [b"cookie" in head.lower() for head in heads] == [False, False]


@pytest.mark.parametrize(("keep_alive", "connections"), [(None, 2), (30.0, 1)])
async def test_a_connection_is_used_again_only_when_that_is_asked_for(keep_alive, connections):
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        while True:
            await request_of(reader)
            writer.write(ANSWER)

    async with listening(answer) as url, http_client(keep_alive=keep_alive) as client:
        for _ in range(2):
            assert (await client.get(url)).text == "ok"
    assert seen == connections


async def resumptions(certificates, requests: int, *, forgetful: bool = False) -> list[bool]:
    """Of each of some connections, one after the other: whether it resumed a session. A `forgetful` server takes
    none."""
    resumed: list[bool] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates.cert, certificates.key)
    if forgetful:
        tls.options |= ssl.OP_NO_TICKET
        tls.num_tickets = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        await request_of(reader)
        writer.write(ANSWER)
        await writer.drain()

    async with listening(answer, tls) as url, http_client(keep_alive=None, verify=transport.new_trust()) as client:
        for _ in range(requests):
            assert (await client.get(url)).text == "ok"
    return resumed


@pytest.fixture
def readings(monkeypatch) -> list[ssl.SSLObject]:
    """The connections whose session was read."""
    read: list[ssl.SSLObject] = []
    session = ssl.SSLObject.session

    def reading(self: ssl.SSLObject) -> ssl.SSLSession | None:
        read.append(self)
        return session.__get__(self)

    monkeypatch.setattr(ssl.SSLObject, "session", property(reading, session.__set__))
    return read


async def test_a_new_connection_resumes_a_tls_session_of_those_before(certificates):
    assert await resumptions(certificates, 4) == [False, True, True, True]


async def test_a_session_is_read_once_for_all_connections_that_resume_it(certificates, readings):
    assert (await resumptions(certificates, 20)).count(True) == 19
    assert len(readings) == 1


async def test_of_a_server_that_takes_no_session_one_is_read_now_and_then(certificates, readings, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert not any(await resumptions(certificates, 10, forgetful=True))
    assert len(readings) == 1


@pytest.mark.parametrize(("minutes", "most"), [(1, 7), (60, 66)])
def test_reading_sessions_becomes_rare(monkeypatch, minutes, most):
    now = [1000.0]
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: now[0]))
    refused = RefusedConnection()
    server = transport._Server(refused)
    for _ in range(minutes * 60):
        server.renew_session()
        now[0] += 1.0
    assert minutes <= refused.read <= most


def test_only_so_many_servers_are_remembered():
    trust = transport.new_trust()
    for number in range(3 * transport.SERVERS):
        trust.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=f"server{number}.example")
        trust.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="server0.example")
    assert len(trust._servers) == transport.SERVERS
    assert "server0.example" in trust._servers


class RefusedConnection:
    """One that resumed nothing, and counts how often its session was read."""

    session_reused = False
    read = 0

    def version(self) -> str:
        return "TLSv1.3"

    @property
    def session(self) -> None:
        self.read += 1


async def test_a_large_answer_comes_in_large_pieces():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4000000\r\n\r\n" + bytes(4_000_000))
        await writer.drain()

    async with listening(answer) as url, http_client() as client, client.stream("GET", url) as response:
        sizes = [len(chunk) async for chunk in response.aiter_raw()]
    assert sum(sizes) == 4_000_000
    assert 64_000 < max(sizes) <= 2 * READ_BYTES


async def test_more_than_a_hundred_calls_are_under_way_at_once_where_that_is_asked_for():
    arrived = 0
    all_there = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await request_of(reader)
        arrived += 1
        if arrived == 120:
            all_there.set()
        await all_there.wait()
        writer.write(ANSWER)

    async with listening(answer) as url, http_client(keep_alive=None, max_connections=0) as client, asyncio.timeout(20):
        answers = await asyncio.gather(*(client.get(url) for _ in range(120)))
    assert {one.text for one in answers} == {"ok"}
