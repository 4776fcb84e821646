"""Where the app may go for its callers: the hosts that are named to it, and public addresses only (design section 8).

Rules without a network. `outbound` asks them before it connects; the pipeline asks them when a request is accepted.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

HTTPS_PORT: Final = 443

# An underscore is no host name's, but common in those of machines.
_HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Globally reachable by IANA's registries, which `is_global` follows, and still nobody's public site.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's own services (learn.microsoft.com, "What is IP address 168.63.129.16")
            "192.0.0.0/24",  # protocol assignments (RFC 6890)
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "2002::/16",  # 6to4: holds an IPv4 address (RFC 3056)
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out to the public (RFC 4291, section 2.4)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are an IPv4 address (RFC 6052)
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"),
    )
)


class OutboundError(Exception):
    """Why nothing was asked, or nothing came of it: a sentence without its subject, to follow the name of a field. It
    tells nothing of the URL but what its sender has done wrong, and nothing of an answer but its status."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A checked URL. `host` is in lower case and without a trailing dot; `target` is path and query as they came."""

    host: str
    port: int
    target: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AllowList:
    """Hosts that may be asked: those of `setting`, and their subdomains.

    `private` lets private addresses and other ports through, which the local stack needs (`ALLOW_PRIVATE_NETWORKS`).
    """

    hosts: tuple[str, ...]
    setting: str
    private: bool = False

    def destination(self, url: str) -> Destination:
        """Where `url` leads. Raises `OutboundError` when that is nowhere to go."""
        try:
            parts = urlsplit(url)
            host, port = _host(parts.hostname or ""), parts.port or HTTPS_PORT
        except ValueError:
            raise OutboundError("is no https URL") from None
        # Looked for in the text as well: urlsplit drops line breaks and tabs, and others read a backslash as a slash.
        if parts.scheme != "https" or not url.isascii() or not url.isprintable() or set(url) & set(" \\"):
            raise OutboundError("is no https URL")
        if "@" in parts.netloc:
            raise OutboundError("names a user")
        if port != HTTPS_PORT and not self.private:
            raise OutboundError(f"names another port than {HTTPS_PORT}")
        if not self._lists(host):
            raise OutboundError(f"leads to a host that is not in {self.setting}")
        if _is_address(host):
            self.check_address(host)
        query = f"?{parts.query}" if parts.query else ""
        return Destination(host, port, f"{parts.path or '/'}{query}")

    def check_address(self, text: str) -> None:
        """Raises `OutboundError` when the IP address `text` is none to connect to."""
        address = _inner(ipaddress.ip_address(text))
        if not (is_public(address) or (self.private and any(address in network for network in _PRIVATE))):
            raise OutboundError("leads to an address that is not public")

    def _lists(self, host: str) -> bool:
        if _is_address(host):
            return host in self.hosts
        return any(host == entry or host.endswith(f".{entry}") for entry in self.hosts)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` is one of the public internet: not private, local, shared, multicast, reserved, a tunnel's or
    Azure's own. What stands for an IPv4 address is judged as that."""
    address = _inner(address)
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _host(text: str) -> str:
    """`text` as a host name or an address in its one usual form. Raises ValueError for anything between the two."""
    host = text.lower().removesuffix(".")
    if _is_address(host):
        return str(ipaddress.ip_address(host))
    # What ends in a number is an IPv4 address to some and a name to others (URL standard, "ends in a number checker").
    if not _HOST.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise ValueError("no host name")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # an address with a zone is one of this machine's links
