"""The one way from here to hosts that callers name: sources are fetched and callbacks posted through it.

1. The URL must lead to a host that is allowed (`destinations`).
2. Its name is resolved once. If any of its addresses is not public nothing is sent; else one of these very addresses is
   connected to, so that a name which answers differently the next time gains nothing.
3. TLS asks for the name. No redirect is followed; no cookie, proxy or .netrc of the machine is used; nothing is
   decompressed. Every exchange has a connection of its own, and 30 s in all.

aiohttp is imported with this module, so import this where it is used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.platform.destinations import AllowList, OutboundError

SECONDS: Final = 30.0
_HEADERS: Final = {"user-agent": "Darkroom", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Outbound:
    """A client of the hosts that `allowed` lists; an exchange takes at most `seconds`, from the look-up to its end."""

    allowed: AllowList
    seconds: float = SECONDS

    async def get(self, url: str, *, max_bytes: int) -> AsyncGenerator[bytes]:
        """The body of a 200 in pieces as they come, at most `max_bytes` in all. Close it when it is left early.

        Raises `OutboundError` for anything else, before or between the pieces.
        """
        async with self._exchange("GET", url) as (response, deadline):
            if response.status != 200:
                raise refused(response.status)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise OutboundError("is answered with a compressed body, though none was asked for")
            total = 0
            announced = response.content_length or 0
            while max(total, announced) <= max_bytes:
                piece = await _read(response, deadline)
                if not piece:
                    return
                total += len(piece)
                if total <= max_bytes:
                    yield piece
            raise OutboundError(f"is answered with more than {max_bytes} bytes")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post `body`; the status of the answer, of which no more is read. Raises `OutboundError` without one."""
        async with self._exchange("POST", url, headers, body) as (response, _):
            return response.status

    async def check(self, url: str) -> None:
        """Raises `OutboundError` when nothing would be sent to `url` as its host is known now. Connects to nobody."""
        destination = self.allowed.destination(url)
        try:
            async with asyncio.timeout(self.seconds):
                addresses = await look_up(destination.host, destination.port)
        except (TimeoutError, OSError):
            raise OutboundError("leads to a host that is not known") from None
        for address in addresses:
            self.allowed.check_address(address)

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, float]]:
        destination = self.allowed.destination(url)
        path, _, query = destination.target.partition("?")
        # Put together anew: what connects must not read the URL in another way than what checked it.
        address = URL.build(
            scheme="https", host=destination.host, port=destination.port, path=path, query_string=query, encoded=True
        )
        deadline = asyncio.get_running_loop().time() + self.seconds
        async with _session(self.allowed) as session:
            with _failures():
                async with asyncio.timeout_at(deadline):
                    response = await session.request(
                        method, address, headers={**_HEADERS, **(headers or {})}, data=body, allow_redirects=False
                    )
            try:
                yield response, deadline
            finally:
                response.close()


class _CheckedAddresses(AbstractResolver):
    """Gives the connector only addresses that may be connected to, or none."""

    def __init__(self, allowed: AllowList) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await look_up(host, port)
        for address in addresses:
            self._allowed.check_address(address)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address in addresses
        ]

    async def close(self) -> None:
        return None


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of `host` as the machine's resolver has them. Raises OSError when there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def refused(status: int) -> OutboundError:
    """What to say of an answer that is not the one wanted; of its body nothing is repeated."""
    if 300 <= status < 400:
        return OutboundError(f"is answered with a redirect ({status}), which is not followed")
    return OutboundError(f"is answered with status {status}")


def _session(allowed: AllowList) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(resolver=_CheckedAddresses(allowed), use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def _read(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    # Around each read and not around all of them: nothing of whoever takes the pieces may be canceled.
    with _failures():
        async with asyncio.timeout_at(deadline):
            return await response.content.readany()


@contextmanager
def _failures() -> Iterator[None]:
    """What goes wrong on the way, by its kind; the exceptions' own texts may hold the URL."""
    try:
        yield
    except TimeoutError:
        raise OutboundError("does not answer in time") from None
    except aiohttp.ClientConnectorDNSError:
        raise OutboundError("leads to a host that is not known") from None
    except aiohttp.ClientSSLError:
        raise OutboundError("leads to a host that TLS does not vouch for") from None
    except aiohttp.ClientConnectorError:
        raise OutboundError("leads to a host that does not answer") from None
    except (aiohttp.ClientError, OSError):
        raise OutboundError("is not answered in whole") from None
