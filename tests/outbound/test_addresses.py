"""Where the server refuses to go: whatever an address is written as, and whatever a name answers."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.addresses import RefusedAddressError, allowance, is_public, refuse_private
from app.settings import SettingsError, load

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "192.88.99.1",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[2001::1]",
    "[2002:7f00:1::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::1]",
    "[::127.0.0.1]",
    "[3fff::1]",
]
DISGUISED = [
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "2130706433",
    "127.1",
    "0",
    "0x0",
    "0300.0250.1.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "[2606:4700:4700::1111]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::808:808]",
]
NOT_PLAIN = [
    "ftp://8.8.8.8/",
    "file:///etc/passwd",
    "//8.8.8.8/",
    "8.8.8.8",
    "http://",
    "http:///path",
    "http://8.8.8.8:0/",
    "http://8.8.8.8:70000/",
    "http://8.8.8.8:x/",
    "http://[::1/",
    "http://user@8.8.8.8/",
    "http://user:pass@8.8.8.8/",
    "http://@8.8.8.8/",
    "http://8.8.8.8/?q=1",
    "http://8.8.8.8/?",
    "http://8.8.8.8/#f",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://8.8.8.8/a b",
    "http://8.8.8.8/\n",
    "http://8.8.8.8/\x00",
    "http://①②⑦.0.0.1/",
    "http://" + "a" * 3000,
]


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Make every name resolve to these: what a hostile name server can do, without one."""

    def getaddrinfo(_host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("host", PRIVATE)
def test_no_private_address_is_called(host: str) -> None:
    """A user's base URL must not reach the host, its network or the cloud's metadata."""
    with pytest.raises(RefusedAddressError, match="public"):
        refuse_private(f"http://{host}:8080/v1")


@pytest.mark.parametrize("host", DISGUISED)
def test_no_spelling_hides_a_private_address(host: str) -> None:
    """The resolver reads octal, hexadecimal and short forms; so the check asks the resolver."""
    with pytest.raises(RefusedAddressError):
        refuse_private(f"http://{host}/")


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are_called(host: str) -> None:
    """NAT64 and mapped forms of public addresses are how IPv6-only networks reach the internet."""
    assert refuse_private(f"https://{host}/v1") == (str(ip_address(host.strip("[]"))),)


@pytest.mark.parametrize("url", NOT_PLAIN)
def test_only_plain_urls_pass(url: str) -> None:
    """A URL two parsers could read differently is no URL here."""
    with pytest.raises(RefusedAddressError):
        refuse_private(url)


def test_one_private_answer_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may answer with both, and the connection would pick either."""
    answering(monkeypatch, "8.8.8.8", "10.0.0.1", "1.1.1.1")
    with pytest.raises(RefusedAddressError):
        refuse_private("https://mixed.example/")


def test_every_answer_is_handed_over_for_pinning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects must use what was checked, not ask again: the second answer may differ."""
    answering(monkeypatch, "8.8.8.8", "2606:4700:4700::1111", "8.8.8.8")
    assert refuse_private("https://twice.example/") == ("8.8.8.8", "2606:4700:4700::1111")


def test_scoped_link_local_answers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers write the interface behind the address."""
    answering(monkeypatch, "fe80::1%eth0")
    with pytest.raises(RefusedAddressError):
        refuse_private("http://printer.example/")


def test_a_name_that_does_not_resolve_is_refused_in_the_same_words() -> None:
    """Otherwise the refusals would tell a caller which names exist inside."""
    with pytest.raises(RefusedAddressError) as unknown:
        refuse_private("http://no-such-host.invalid/")
    with pytest.raises(RefusedAddressError) as private:
        refuse_private("http://localhost/")
    assert str(unknown.value) == str(private.value)


def test_a_name_the_resolver_cannot_be_asked_for_is_refused() -> None:
    """An overlong label raises something else than "no such name"."""
    with pytest.raises(RefusedAddressError):
        refuse_private(f"http://{'a' * 80}.example/")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000/"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
        ("127.0.0.0/8", "http://127.9.9.9/"),
        ("127.0.0.0/8", "http://localhost/"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/"),
        ("localhost", "http://LocalHost:1/"),
        ("localhost:443", "https://localhost/"),
        ("[::1]:80", "http://[::1]/"),
        ("::1", "http://[::1]:99/"),
        ("[::1]", "http://[::1]:99/"),
    ],
)
def test_the_operator_may_allow_a_place(entry: str, url: str) -> None:
    """A model server in one's own network is the reason to run this at all."""
    assert refuse_private(url, ["10.0.0.0/8", entry])


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9001/"),
        ("localhost:443", "http://localhost/"),
        ("host", "http://localhost/"),
        ("127.0.0.0/31", "http://127.0.0.2/"),
        ("ocalhost", "http://localhost/"),
    ],
)
def test_an_allowance_reaches_no_further_than_it_says(entry: str, url: str) -> None:
    """Allowing one port or host must not open its neighbours."""
    with pytest.raises(RefusedAddressError):
        refuse_private(url, [entry])


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "a/b", "http://x", "host:port", "1.2.3", "a b", "host:99999", "*"])
def test_an_allowance_that_allows_nothing_stops_the_start(entry: str) -> None:
    """A typing error would otherwise be found out by a call that fails later."""
    with pytest.raises(ValueError, match="neither"):
        allowance(entry)
    with pytest.raises(SettingsError, match="OUTBOUND_ALLOW"):
        load({"YARDMASTER_OUTBOUND_ALLOW": f"localhost,{entry}"})


def test_allowances_are_read_from_the_environment() -> None:
    """Spaces and a trailing comma are how people write lists."""
    chosen = load({"YARDMASTER_OUTBOUND_ALLOW": " gpu.internal:8000 , 10.0.0.0/8,"})
    assert chosen.outbound_allowed == ("gpu.internal:8000", "10.0.0.0/8")


@given(st.ip_addresses(v=4))
def test_nothing_is_public_that_python_calls_private(address: IPv4Address) -> None:
    """The list here may be stricter than the standard library's, never laxer."""
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6))
def test_nothing_is_public_over_ipv6_that_python_calls_private(address: IPv6Address) -> None:
    """The same for IPv6, where only 2000::/3 is handed out."""
    assert not is_public(address) or (address.is_global and int(address) >> 125 == 1)
