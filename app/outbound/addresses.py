"""Where this server may connect to on somebody's behalf: public addresses, and what the operator allows besides."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS: Final = {"http": 80, "https": 443}
# A URL that two parsers read differently is how such checks are passed: no control, space, backslash or non-ASCII.
PLAIN: Final = re.compile(r"[!-\[\]-~]{1,2048}")
HOST_NAME: Final = re.compile(r"(?![0-9.]*\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")

# IANA's special-purpose registry (RFC 6890 and later), multicast, and what clouds answer metadata on.
DENIED_V4: Final = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host agent, a public address by its number only
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only 2000::/3 is handed out as global unicast; these parts of it are not for ordinary hosts.
GLOBAL_V6: Final = IPv6Network("2000::/3")
DENIED_V6: Final = tuple(IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
NAT64: Final = IPv6Network("64:ff9b::/96")


class RefusedAddressError(Exception):
    """The URL cannot be used, or leads where this server does not go; the sentence may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry of the operator's list: a host or a network, on one port or on all."""

    host: str = ""
    network: Network | None = None
    port: int | None = None

    def admits_host(self, host: str, port: int) -> bool:
        """Whether this entry names the host of a URL."""
        return self.host == host and self.port in (None, port)

    def admits_address(self, address: Address, port: int) -> bool:
        """Whether the address lies in this entry's network."""
        return self.network is not None and address in self.network and self.port in (None, port)


def refuse_private(url: str, allowed: Sequence[str] = ()) -> tuple[str, ...]:
    """The addresses an http(s) URL leads to, for the caller to connect to and to no other.

    Resolves the host, which may take seconds. RefusedAddressError when it is no plain URL, does not resolve, or when
    any one answer is not public, unless `allowed` (host, host:port, address or CIDR) has it.
    """
    parts = split_url(url)
    host, port = host_of(parts), parts.port or PORTS[parts.scheme]
    entries = [allowance(entry) for entry in allowed]
    addresses = _resolve(host, port)
    named = any(entry.admits_host(host, port) for entry in entries)
    for address in addresses:
        judged = _unwrapped(address)
        if not (named or is_public(judged) or any(entry.admits_address(judged, port) for entry in entries)):
            raise _nowhere()
    return tuple(str(address) for address in addresses)


def split_url(url: str) -> SplitResult:
    """The parts of an absolute http(s) URL without credentials, query or fragment; RefusedAddressError otherwise."""
    try:
        parts = urlsplit(url) if PLAIN.fullmatch(url) else None
        known = parts is not None and parts.scheme in PORTS and parts.port != 0 and bool(parts.hostname)
    except ValueError:
        parts, known = None, False
    if parts is None or not known:
        raise RefusedAddressError("it must be an absolute http or https URL")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise RefusedAddressError("it must have no credentials, query or fragment")
    return parts


def host_of(parts: SplitResult) -> str:
    """The host in lower case, without brackets and the root's dot."""
    return (parts.hostname or "").removesuffix(".")


def is_public(address: Address) -> bool:
    """Whether an ordinary host of the internet may have this address."""
    if isinstance(address, IPv4Address):
        return not any(address in net for net in DENIED_V4)
    return address in GLOBAL_V6 and not any(address in net for net in DENIED_V6)


def allowance(entry: str) -> Allowance:
    """An entry of the operator's list; ValueError when it is neither a host, an address nor a network."""
    text = entry.strip().lower()
    if network := _network(text.strip("[]")):
        return Allowance(network=network)
    host, port = ("", None) if "/" in text else _host_and_port(text)
    if network := _network(host):
        return Allowance(network=network, port=port)
    if not HOST_NAME.fullmatch(host):
        raise ValueError(f"{entry!r} is neither a host, host:port, an address nor a network")
    return Allowance(host=host, port=port)


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _host_and_port(text: str) -> tuple[str, int | None]:
    """What stands before and after the colon; no host when that is no port."""
    try:
        parts = urlsplit(f"//{text}")
        return (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        return "", None


def _resolve(host: str, port: int) -> list[Address]:
    """Every address of the host, through the system's resolver: the one the connection would ask."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = dict.fromkeys(ip_address(str(sockaddr[0])) for *_, sockaddr in answers)
    except (OSError, ValueError):  # no such name, or one that cannot be asked for
        raise _nowhere() from None
    if not found:
        raise _nowhere()
    return list(found)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that a mapped (RFC 4291) or NAT64 (RFC 6052) one stands for."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _nowhere() -> RefusedAddressError:
    """One sentence for a name that is unknown and for one that is private: the answer must not map a network."""
    return RefusedAddressError("its host must resolve to public addresses only, or be allowed by the operator")
