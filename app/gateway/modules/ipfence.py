"""IP fence: lets calls in by the address they come from, or keeps them out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.steps import Module, Steps
from app.problems import Problem

log = logging.getLogger("yardmaster.ipfence")
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Ipfence(Module):
    """The address is the connection's, or, where a reverse proxy on this machine is trusted, the one it tells of."""

    COUNTS = ("admitted", "kept_out")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The lists as networks; the decision is remembered for each address."""
        allowed, denied = _networks(settings["allowlist"]), _networks(settings["denylist"])
        mode, action, trusting = str(settings["mode"]), settings["action"], settings["trust_proxy"]

        def may_enter(client: str) -> bool:
            address = _address(client)
            if address is None:  # no address at all, as over a Unix socket: only a list of those let in can refuse it
                return mode == "denylist"
            inside = mode == "denylist" or _within(address, allowed)
            return inside and (mode == "allowlist" or not _within(address, denied))

        decided = lru_cache(maxsize=10_000)(may_enter)

        def before(exchange: Exchange) -> None:
            client = _client(exchange, trusting=trusting)
            if decided(client):
                self.counted["admitted"] += 1
                return
            self.counted["kept_out"] += 1
            if settings["log_blocked"]:
                log.warning("kept out a call from %s", client)
            if action == "block":
                raise Problem(403, "Calls from this address are not admitted", details={"reason": "ipfence"})
            if action == "warn":
                warn(exchange, "ipfence")

        return Steps(before=before)


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """What can be read of a list; a line that is no network admits and denies nobody, and is said to."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text, strict=False))
        except ValueError:
            log.error("%s is no network: it is passed over", text)  # noqa: TRY400 (a traceback would tell nothing)
    return tuple(found)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _client(exchange: Exchange, *, trusting: bool) -> str:
    """The last address the proxy itself added: all before it is what a caller wrote, and may be a lie."""
    client = exchange.call.client
    told = exchange.call.headers.get("x-forwarded-for", "") if trusting else ""
    near = _address(client)
    return told.rpartition(",")[2].strip() if told and near is not None and near.is_loopback else client
