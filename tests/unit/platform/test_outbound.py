"""The guarded client against real sockets: where it connects, what it asks, and what it takes for an answer."""

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator, Iterator

import aiohttp.connector
import pytest

from shared.platform import outbound
from shared.platform.destinations import AllowList, OutboundError
from shared.platform.outbound import Outbound
from tests.support.receiver import Receiver, answer, receiving

HOSTS = ("127.0.0.1", "localhost", "example.com")
PUBLIC = AllowList(HOSTS, "IMAGE_URL_HOSTS")
PRIVATE = AllowList(HOSTS, "IMAGE_URL_HOSTS", private=True)
PICTURE = bytes(range(256)) * 1_000


class Names:
    """A resolver that gives one answer after another, and keeps what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers: Iterator[list[str]] = itertools.chain(answers, itertools.repeat(answers[-1]))

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return next(self._answers)


@pytest.fixture
async def receiver(certificates) -> AsyncIterator[Receiver]:
    async with receiving(certificates) as receiver:
        yield receiver


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch):
    """`resolves([addresses], [addresses], ...)`: what look-ups say, one after the other."""

    def answers(*answers: list[str]) -> Names:
        names = Names(*answers)
        monkeypatch.setattr(outbound, "look_up", names)
        return names

    return answers


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses that were about to be connected to; nothing is."""
    seen: list[tuple[str, int]] = []

    async def refuse(addr_infos, **_):
        seen.extend(info[4][:2] for info in addr_infos)
        raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", refuse)
    return seen


async def get(url: str, allowed: AllowList = PRIVATE, *, max_bytes: int = 10**6, seconds: float = 30.0) -> bytes:
    return b"".join([piece async for piece in Outbound(allowed, seconds).get(url, max_bytes=max_bytes)])


async def refusal(url: str, allowed: AllowList = PRIVATE, **options) -> str:
    with pytest.raises(OutboundError) as caught:
        await get(url, allowed, **options)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


async def test_an_image_comes_byte_for_byte_and_the_request_is_plain(receiver):
    receiver.answers = [answer(200, PICTURE)]

    assert await get(f"{receiver.url}/a%2Fb.png?sig=a%2Bb+c=") == PICTURE
    (heard,) = receiver.requests
    assert (heard.method, heard.target, heard.body) == ("GET", "/a%2Fb.png?sig=a%2Bb+c=", b"")
    assert heard.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "Darkroom",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


async def test_a_post_brings_the_status_and_what_was_posted_arrives(receiver):
    receiver.answers = [answer(200, b"thanks"), answer(500, b"sorry")]
    client = Outbound(PRIVATE)

    assert await client.post(f"{receiver.url}/hook", b"body", {"webhook-id": "1"}) == 200
    assert await client.post(f"{receiver.url}/hook", b"body", {}) == 500
    heard = receiver.requests[0]
    assert (heard.method, heard.target, heard.body, heard.headers["webhook-id"]) == ("POST", "/hook", b"body", "1")


async def test_neither_cookies_nor_proxies_nor_netrc_of_the_machine_are_used(receiver, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    receiver.answers = [answer(200, b"x", set_cookie="a=b; Path=/")]
    client = Outbound(PRIVATE)

    assert b"".join([piece async for piece in client.get(receiver.url, max_bytes=10)]) == b"x"
    assert await client.post(receiver.url, b"", {}) == 204
    assert not {"cookie", "authorization"} & {name for heard in receiver.requests for name in heard.headers}
    assert receiver.connections == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_is_not_connected_to(receiver, host):
    assert await refusal(f"https://{host}/?s3cret", PUBLIC) == "leads to an address that is not public"
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "168.63.129.16", "fd00::1", "::1", "::ffff:127.0.0.1", "0.0.0.0"]
)
async def test_a_name_that_leads_to_a_private_address_is_not_followed(resolves, connected, address):
    for addresses in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
        names = resolves(addresses)
        assert await refusal("https://example.com/?s3cret", PUBLIC) == "leads to an address that is not public"
        assert names.asked == ["example.com"]
    assert connected == []


async def test_a_rebinding_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(resolves, connected):
    names = resolves(["93.184.215.14"], ["127.0.0.1"])

    await refusal("https://example.com/", PUBLIC)
    assert names.asked == ["example.com"]
    assert connected == [("93.184.215.14", 443)]


async def test_a_rebinding_name_gains_nothing_with_a_second_request(receiver, resolves):
    names = resolves(["127.0.0.1"], ["169.254.169.254"])
    url = f"https://localhost:{receiver.port}/"

    assert await Outbound(PRIVATE).post(url, b"", {}) == 204
    with pytest.raises(OutboundError, match="not public"):
        await Outbound(PRIVATE).post(url, b"", {})
    assert names.asked == ["localhost", "localhost"]
    assert receiver.connections == 1


async def test_tls_and_host_header_keep_the_name_that_was_asked_for(receiver, resolves):
    resolves(["127.0.0.1"])

    assert await Outbound(PRIVATE).post(f"https://LocalHost.:{receiver.port}/", b"", {}) == 204
    assert receiver.requests[0].server_name == "localhost"
    assert receiver.requests[0].headers["host"] == f"localhost:{receiver.port}"


async def test_a_certificate_for_another_name_is_refused_before_anything_is_sent(receiver, resolves):
    resolves(["127.0.0.1"])

    url = f"https://example.com:{receiver.port}/?s3cret"
    assert await refusal(url) == "leads to a host that TLS does not vouch for"
    assert receiver.requests == []


@pytest.mark.parametrize(
    "location", ["https://localhost/", "https://evil.net/", "http://169.254.169.254/", "/here", ""]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_wherever_it_leads(receiver, location, status):
    receiver.answers = [answer(status, b"", location=location)] * 2

    assert await refusal(receiver.url) == f"is answered with a redirect ({status}), which is not followed"
    assert await Outbound(PRIVATE).post(receiver.url, b"", {}) == status
    assert receiver.connections == 2


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 404, 410, 500, 503])
async def test_only_a_200_brings_an_image_and_no_answer_is_repeated(receiver, status):
    receiver.answers = [answer(status, b"" if status in (204, 304) else b"s3cret")]
    assert str(status) in await refusal(receiver.url)


async def test_a_body_that_says_it_is_too_long_is_not_read(receiver):
    receiver.answers = [answer(200, b"", content_length="1001")]
    assert await refusal(receiver.url, max_bytes=1_000) == "is answered with more than 1000 bytes"


@pytest.mark.parametrize("framing", [b"connection: close\r\n", b"transfer-encoding: chunked\r\n"])
async def test_a_body_without_end_is_left_when_it_is_too_long(receiver, framing):
    stopped = asyncio.Event()

    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
        try:
            while True:
                writer.write(b"400\r\n" + bytes(1_024) + b"\r\n")
                await writer.drain()
        finally:
            stopped.set()

    receiver.answers = [endless]
    assert await refusal(receiver.url, max_bytes=100_000) == "is answered with more than 100000 bytes"
    async with asyncio.timeout(10):
        await stopped.wait()


async def test_exactly_the_most_is_not_too_much(receiver):
    receiver.answers = [answer(200, bytes(1_000))]
    assert len(await get(receiver.url, max_bytes=1_000)) == 1_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
async def test_a_compressed_body_is_refused_and_never_unpacked(receiver, encoding):
    bomb = gzip.compress(bytes(10**6))
    receiver.answers = [answer(200, bomb, content_encoding=encoding)]
    assert await refusal(receiver.url) == "is answered with a compressed body, though none was asked for"


async def test_a_slow_answer_is_not_waited_for(receiver):
    gone = asyncio.Event()

    async def hang(writer):
        await gone.wait()

    receiver.answers = [hang, hang]
    assert await refusal(receiver.url, seconds=0.2) == "does not answer in time"
    with pytest.raises(OutboundError, match="in time"):
        await Outbound(PRIVATE, 0.2).post(receiver.url, b"", {})
    gone.set()


async def test_a_body_that_trickles_has_the_same_time_as_all_the_rest(receiver):
    gone = asyncio.Event()

    async def trickle(writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while not gone.is_set():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    receiver.answers = [trickle]
    assert await refusal(receiver.url, seconds=0.3) == "does not answer in time"
    gone.set()


async def test_a_look_up_that_hangs_counts_too(monkeypatch):
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(outbound, "look_up", hang)
    assert await refusal("https://example.com/", seconds=0.1) == "does not answer in time"


async def test_time_that_the_taker_needs_cancels_nothing_of_his(receiver):
    gone = asyncio.Event()

    async def half(writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegin")
        await writer.drain()
        await gone.wait()

    receiver.answers = [half]
    pieces = Outbound(PRIVATE, 0.1).get(receiver.url, max_bytes=10**6)

    assert await anext(pieces) == b"begin"
    await asyncio.sleep(0.3)  # its time is over, and this is not disturbed
    with pytest.raises(OutboundError, match="in time"):
        await anext(pieces)
    gone.set()


@pytest.mark.parametrize(
    "wire",
    [
        *(b"", b"HELLO\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ncut",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_an_answer_that_is_broken_brings_nothing(receiver, wire):
    receiver.answers = [wire, wire]  # aiohttp asks once more when it hears nothing at all
    assert await refusal(receiver.url) == "is not answered in whole"
    posts = receiver.connections
    receiver.answers = [b""]
    with pytest.raises(OutboundError, match="in whole"):
        await Outbound(PRIVATE).post(receiver.url, b"", {})
    assert receiver.connections == posts + 1


async def test_a_port_where_nobody_listens_and_a_name_that_is_none_are_told_apart(certificates, monkeypatch):
    async with receiving(certificates) as gone:
        pass
    assert await refusal(f"{gone.url}/?s3cret") == "leads to a host that does not answer"

    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    monkeypatch.setattr(outbound, "look_up", unknown)
    assert await refusal("https://example.com/?s3cret") == "leads to a host that is not known"


async def test_the_machines_own_resolver_is_asked():
    assert "127.0.0.1" in await outbound.look_up("localhost", 443)


async def test_whoever_leaves_early_leaves_no_connection(receiver):
    left = asyncio.Event()

    async def wait_for_the_end(writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin")
        await writer.drain()
        await writer.wait_closed()
        left.set()

    receiver.answers = [wait_for_the_end]
    pieces = Outbound(PRIVATE).get(receiver.url, max_bytes=10_000)
    assert await anext(pieces) == b"begin"
    await pieces.aclose()
    async with asyncio.timeout(10):
        await left.wait()
