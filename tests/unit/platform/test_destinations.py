"""Where the app may go: hosts that are named to it, and addresses that are everybody's."""

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.platform.destinations import AllowList, Destination, OutboundError, is_public

ALLOWED = AllowList(("example.com", "hooks.example.org", "93.184.215.14", "xn--bcher-kva.example"), "CALLBACK_HOSTS")
LOCAL = AllowList(("127.0.0.1", "example.com"), "CALLBACK_HOSTS", private=True)


def refusal(url: str, allowed: AllowList = ALLOWED) -> str:
    with pytest.raises(OutboundError) as caught:
        allowed.destination(url)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/done", "example.com"),
        ("https://EXAMPLE.Com:443/done", "example.com"),
        ("https://example.com./done", "example.com"),
        ("https://a.b.example.com/done", "a.b.example.com"),
        ("https://my_machine.example.com/done", "my_machine.example.com"),
        ("https://hooks.example.org/done", "hooks.example.org"),
        ("https://93.184.215.14/done", "93.184.215.14"),
        ("https://XN--BCHER-KVA.example/done", "xn--bcher-kva.example"),
    ],
)
def test_an_entry_opens_its_host_and_subdomains_however_they_are_written(url: str, host: str):
    assert ALLOWED.destination(url) == Destination(host, 443, "/done")


@pytest.mark.parametrize(
    "host",
    [
        *("example.org", "evil-example.com", "evilexample.com", "example.com.evil.net", "com", "localhost"),
        *("example.com-evil.net", "93.184.215.15", "[::1]", "[::ffff:93.184.215.14]", "[fe80::1]", "[fd00::1]"),
    ],
)
def test_a_host_that_only_resembles_an_entry_is_not_listed(host: str):
    assert refusal(f"https://{host}/") == "leads to a host that is not in CALLBACK_HOSTS"


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.01", "0x.example.com.0x1", "1.2.3.4.5"),
        *("a.93.184.215.14", "017700000001", "example.com.1", "[fe80::1%25eth0]", "[::1", "a..example.com"),
        *("-a.example.com", "a-.example.com", "x" * 64 + ".example.com", ".example.com", "example.com..", "", "*"),
        *("ex%61mple.com", "example.com\\@evil.net", "exa mple.com", "exämple.com", "example.com\t", "ex\nample.com"),
        *("\uff45xample.com", "example\u3002com", "example.com:x", "example.com:99999", "example.com:-1"),
    ],
)
def test_what_is_no_plain_host_name_or_address_leads_nowhere(host: str):
    allowed = AllowList((*LOCAL.hosts, "0x7f000001", "2130706433", "127.1"), "CALLBACK_HOSTS", private=True)
    assert refusal(f"https://{host}/", allowed) == "is no https URL"


@pytest.mark.parametrize(
    "url", ["http://example.com/", "ftp://example.com/", "//example.com/", "example.com", "", "https:/a"]
)
def test_only_https_leads_anywhere(url: str):
    assert refusal(url) == refusal(url, LOCAL) == "is no https URL"


@pytest.mark.parametrize("user", ["user", "user:secret", "", "example.com", ":"])
def test_a_url_that_names_a_user_is_refused(user: str):
    assert refusal(f"https://{user}@example.com/") == refusal(f"https://{user}@evil.net/") == "names a user"


@pytest.mark.parametrize("port", [1, 22, 80, 444, 8443, 65535])
def test_other_ports_are_refused_but_on_a_private_network(port: int):
    assert refusal(f"https://example.com:{port}/") == "names another port than 443"
    assert LOCAL.destination(f"https://example.com:{port}/").port == port


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#\\"), max_size=40))
def test_path_and_query_go_on_as_they_came_and_show_in_no_repr(text: str):
    destination = ALLOWED.destination(f"https://example.com/{text}?sig=s3cret%2B{text}")
    assert destination.target == f"/{text}?sig=s3cret%2B{text}"
    assert "s3cret" not in repr(destination)


@given(st.text(max_size=60))
def test_whatever_is_written_a_destination_is_a_listed_host(text: str):
    for url in (text, f"https://{text}", f"https://{text}example.com", f"https://example.com{text}"):
        try:
            host = ALLOWED.destination(url).host
        except OutboundError:
            continue
        assert any(host == entry or host.endswith(f".{entry}") for entry in ALLOWED.hosts)


NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "::", "::1", "::7f00:1", "::8.8.8.8", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16", "::ffff:0:8.8.8.8"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::808:808", "100::1"),
    *("2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "4000::1", "5f00::1"),
    *("fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
]
PUBLIC = [
    *("8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2600::1"),
    *("2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_everybodys_is_not_connected_to(address: str):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(OutboundError, match="not public"):
        ALLOWED.check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is(address: str):
    ALLOWED.check_address(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_each_of_its_ipv6_forms(address: ipaddress.IPv4Address):
    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(ipaddress.ip_address(form)) == is_public(address)
    for form in (f"::{address}", f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1"):
        assert not is_public(ipaddress.ip_address(form))


@given(st.ip_addresses())
def test_no_public_address_is_one_that_the_registries_call_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
):
    assume(is_public(address))
    assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "172.17.0.1", "192.168.1.1", "::1", "fd12::1"])
def test_the_local_stacks_setting_lets_private_addresses_through(address: str):
    LOCAL.check_address(address)


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "fe80::1"])
def test_metadata_and_the_like_are_out_of_bounds_even_there(address: str):
    with pytest.raises(OutboundError, match="not public"):
        LOCAL.check_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_an_address_in_place_of_a_host_must_be_public_even_when_it_is_listed(host: str):
    assert refusal(f"https://{host}/", AllowList((host,), "CALLBACK_HOSTS")).endswith("is not public")
