"""HTTP through the host: routes, keys, limits and streams, with a real worker behind it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

MEGABYTE = 1024 * 1024


@pytest.fixture
def client(streams_host) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=streams_host.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
async def async_client(streams_host) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=streams_host.url, timeout=20, trust_env=False) as client:
        yield client


def connect(host) -> socket.socket:
    address = urlsplit(host.url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def test_a_function_answers(client: httpx.Client) -> None:
    response = client.get("/hello")
    assert (response.status_code, response.text) == (200, "hello")


def test_one_date_and_no_server_header_come_back(client: httpx.Client) -> None:
    headers = client.get("/hello").headers
    assert len(headers.get_list("date")) == 1
    assert "server" not in headers


def test_head_has_the_headers_and_no_body(client: httpx.Client) -> None:
    response = client.head("/hello")
    assert (response.status_code, response.headers["content-length"], response.content) == (200, "5", b"")


def test_what_has_no_route_is_404_with_an_empty_body(client: httpx.Client) -> None:
    for response in (client.get("/nowhere"), client.post("/hello"), client.delete("/hello"), client.get("/items/x")):
        assert (response.status_code, response.content) == (404, b"")


def test_the_site_itself_answers_like_azures(client: httpx.Client) -> None:
    assert client.get("/").status_code == 200


def test_route_parameters_reach_the_function(client: httpx.Client) -> None:
    assert client.get("/items/7/a/b%20c").json() == {"id": "7", "rest": "a/b c"}
    assert client.get("/ITEMS/7").json() == {"id": "7"}
    assert client.get("/items/first").json() == {"literal": True}


def test_paths_and_queries_reach_the_function_as_they_were_sent(client: httpx.Client) -> None:
    url = client.get("/echo?b=%2F+x&a=&b=2").json()["url"]
    assert url.endswith("/echo?b=%2F+x&a=&b=2")


def test_the_key_is_asked_for_as_azure_asks(client: httpx.Client) -> None:
    refused = client.get("/guarded")
    assert (refused.status_code, refused.content) == (401, b"")
    assert client.get("/guarded", headers={"x-functions-key": "wrong"}).status_code == 401
    assert client.get("/guarded", headers={"x-functions-key": "test-key"}).text == "let in"
    assert client.get("/guarded?code=test-key").text == "let in"
    assert client.get("/guarded/admin").status_code == 401
    assert client.get("/guarded/admin?code=test-key").text == "let in"


def test_an_exception_is_500_and_is_logged_with_its_invocation(client: httpx.Client, streams_host) -> None:
    assert client.get("/broken").status_code == 500
    streams_host.hears(r"ERROR .*Executed 'broken' \(Failed, Id=[0-9a-f-]{36}, Duration=\d+ms\)")
    streams_host.hears(r"^RuntimeError: broken on purpose")


def test_what_the_app_prints_and_logs_is_passed_on_at_its_level(client: httpx.Client, streams_host) -> None:
    client.get("/words")
    streams_host.hears(r"^\[worker 1\] printed by the app$")
    streams_host.hears(r"^\[worker 1\] \d\d:\d\d:\d\d INFO words: said at info$")
    assert not any("said at debug" in line for line in streams_host.lines)


def test_headers_that_only_the_platform_may_set_are_dropped(client: httpx.Client) -> None:
    forged = {
        "x-ms-invocation-id": "mine",
        "X-MS-CLIENT-PRINCIPAL": "someone",
        "X-MS-CLIENT-PRINCIPAL-ID": "someone",
        "X-Forwarded-For": "6.6.6.6",
        "connection": "close, x-hop",
        "x-hop": "1",
        "x-kept": "1",
    }
    headers = client.get("/echo", headers=forged).json()["headers"]
    names = [name for name, _ in headers]
    assert not {"x-ms-client-principal", "x-ms-client-principal-id", "x-hop"} & set(names)
    assert names.count("x-ms-invocation-id") == 1
    assert ["x-ms-invocation-id", "mine"] not in headers
    assert ["x-forwarded-for", "127.0.0.1"] in headers
    assert ["x-kept", "1"] in headers


def test_hop_by_hop_headers_of_the_function_stay_behind(client: httpx.Client) -> None:
    headers = client.get("/bytes/1").headers
    assert headers["x-kept"] == "yes"
    assert "x-dropped" not in headers


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_arrives_whole(client: httpx.Client, chunked: bool) -> None:
    body = os.urandom(20 * MEGABYTE)
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    answer = client.post("/digest", content=pieces if chunked else body).json()
    assert answer == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


def test_a_large_answer_arrives_whole(client: httpx.Client) -> None:
    assert len(client.get(f"/bytes/{20 * MEGABYTE}").content) == 20 * MEGABYTE


async def test_both_directions_stream_at_once(async_client: httpx.AsyncClient) -> None:
    """Each piece is sent only after the one before has come back."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(async_client.base_url.host, async_client.base_url.port)
        writer.write(b"POST /mirror HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert b" 200 " in await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
        for number in range(5):
            await _send_chunk(writer, f"piece {number}".encode())
            assert await _read_chunk(reader) == f"piece {number}".encode()
        writer.write(b"0\r\n\r\n")
        assert await _read_chunk(reader) == b""
        writer.close()


async def _send_chunk(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    await writer.drain()


async def _read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


def test_expect_continue_is_answered_by_the_host(streams_host) -> None:
    with connect(streams_host) as connection:
        connection.sendall(
            b"POST /digest HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
            b"connection: close\r\n\r\n"
        )
        answers = connection.makefile("rb")
        assert answers.readline().startswith(b"HTTP/1.1 100")
        assert answers.readline() == b"\r\n"
        connection.sendall(b"{}")
        assert answers.readline().startswith(b"HTTP/1.1 200")


def test_a_slow_reader_holds_the_function_back(streams_host) -> None:
    """A response of 300 MB waits in the sockets between, not in the host."""
    with connect(streams_host) as connection:
        connection.sendall(b"GET /bytes/300000000 HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.recv(1000)
        before = _resident_megabytes(streams_host.process.pid)
        for _ in range(50):  # the host goes on serving others, and has every chance to read ahead
            assert httpx.get(f"{streams_host.url}/hello", trust_env=False).status_code == 200
        assert _resident_megabytes(streams_host.process.pid) - before < 20


def _resident_megabytes(pid: int) -> float:
    import psutil

    return psutil.Process(pid).memory_info().rss / MEGABYTE


def test_when_the_client_leaves_the_functions_stream_is_ended(streams_host) -> None:
    with connect(streams_host) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1000)
    streams_host.hears("endless has ended")


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(streams_host, client: httpx.Client) -> None:
    before = sum("Executing 'digest'" in line for line in streams_host.lines)
    with connect(streams_host) as connection:
        connection.sendall(b"POST /digest HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc")
        streams_host.hears("Executing 'digest'", times=before + 1)
    streams_host.hears(r"Executed 'digest' \(Failed")
    assert client.get("/hello").text == "hello"


def test_a_header_that_is_no_utf_8_is_refused(streams_host) -> None:
    with connect(streams_host) as connection:
        connection.sendall(b"GET /hello HTTP/1.1\r\nhost: x\r\nx-name: \xff\xfe\r\nconnection: close\r\n\r\n")
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 400")


def test_the_list_of_functions_needs_the_key_and_shows_their_bindings(client: httpx.Client) -> None:
    assert client.get("/admin/functions").status_code == 401
    functions = {each["name"]: each for each in client.get("/admin/functions?code=test-key").json()}
    assert functions["hello"]["config"]["bindings"][0]["route"] == "hello"
    assert len(functions) == 13


def test_the_status_says_that_the_host_runs(client: httpx.Client) -> None:
    status = client.get("/admin/host/status").json()
    assert status["state"] == "Running"
    assert [worker["running"] for worker in status["workers"]] == [True]


class TestBodyLimit:
    """`FUNCTIONS_REQUEST_BODY_SIZE_LIMIT`, by default 100 MiB."""

    @pytest.fixture
    def limited(self, start_host) -> httpx.URL:
        return httpx.URL(start_host("streams", FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=str(MEGABYTE)).url)

    def test_a_declared_length_over_the_limit_is_413_at_once(self, limited: httpx.URL) -> None:
        connection = http.client.HTTPConnection(limited.host, limited.port, timeout=20)
        connection.putrequest("POST", "/digest")
        connection.putheader("content-length", str(MEGABYTE + 1))
        connection.endheaders()
        response = connection.getresponse()  # before a byte of the body was sent
        assert (response.status, response.headers["connection"]) == (413, "close")
        connection.close()

    def test_a_client_that_sends_on_still_reads_the_413(self, limited: httpx.URL) -> None:
        assert httpx.post(f"{limited}/digest", content=bytes(30 * MEGABYTE), trust_env=False).status_code == 413

    def test_a_body_without_length_is_413_when_it_passes_the_limit(self, limited: httpx.URL) -> None:
        pieces = (bytes(100_000) for _ in range(30))
        assert httpx.post(f"{limited}/digest", content=pieces, trust_env=False).status_code == 413

    def test_a_body_of_just_the_limit_is_let_in(self, limited: httpx.URL) -> None:
        response = httpx.post(f"{limited}/digest", content=bytes(MEGABYTE), trust_env=False)
        assert response.json()["bytes"] == MEGABYTE


def test_easy_auth_headers_pass_when_the_platform_vouches_for_them(start_host) -> None:
    host = start_host("streams", WEBSITE_AUTH_ENABLED="true")
    headers = httpx.get(f"{host.url}/echo", headers={"x-ms-client-principal-id": "u1"}, trust_env=False).json()[
        "headers"
    ]
    assert ["x-ms-client-principal-id", "u1"] in headers


def test_requests_take_turns_over_the_workers(start_host) -> None:
    host = start_host("streams", workers=2)
    pids = {httpx.get(f"{host.url}/echo", trust_env=False).json()["pid"] for _ in range(4)}
    assert len(pids) == 2


def test_requests_at_once_all_get_their_own_answers(client: httpx.Client, streams_host) -> None:
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = client.get(f"/items/{number}").json()["id"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: str(number) for number in range(40)}
